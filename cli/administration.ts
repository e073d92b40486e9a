/** The administration of a running gateway: what commands ask of it, and in which sentences it refuses. */
import type { Command } from 'commander';
import { readEnvironment } from '../src/config/env.ts';
import type { JsonObject } from '../src/core/json.ts';
import { type GatewayAnswer, gatewayClient } from './gateway-client.ts';
import { gatewayUrlDefault } from './gateway-url.ts';
import { UsageError } from './usage-error.ts';

export interface AtGateway {
  readonly gateway: string;
}

export function atGateway(command: Command): Command {
  return command.option('--gateway <url>', 'where the gateway is', gatewayUrlDefault);
}

export interface Administration {
  readonly get: (path: string) => Promise<JsonObject>;
  readonly post: (path: string, body: JsonObject) => Promise<JsonObject>;
  readonly patch: (path: string, body: JsonObject) => Promise<JsonObject>;
  readonly delete: (path: string) => Promise<JsonObject>;
}

/** Each throws a `UsageError` with the gateway's own sentence when it refuses. */
export function administration({ gateway }: AtGateway): Administration {
  const client = gatewayClient(gateway);
  const token = credential();
  return {
    get: async (path) => done(await client.get(path, token)),
    post: async (path, body) => done(await client.post(path, token, body)),
    patch: async (path, body) => done(await client.patch(path, token, body)),
    delete: async (path) => done(await client.delete(path, token)),
  };
}

/** A path of names as they are. */
export function pathOf(base: string, ...names: readonly string[]): string {
  return [base, ...names.map(encodeURIComponent)].join('/');
}

function done({ status, body }: GatewayAnswer): JsonObject {
  if (status < 400) return body;
  throw new UsageError(`The gateway refuses: ${String(body['message'])} (${String(body['code'])})`);
}

/** Never an option: what is on a command line is seen by everybody on the machine. */
function credential(): string {
  const env = readEnvironment();
  const token = env['TALOS_TOKEN'] ?? env['AUTH_ADMIN_SECRET'] ?? env['AUTH_SECRET'];
  if (token !== undefined && token !== '') return token;
  throw new UsageError('Set TALOS_TOKEN or AUTH_ADMIN_SECRET to what the administration routes accept.');
}
