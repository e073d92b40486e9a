/** The few requests that commands send to a running gateway, with sentences for what can go wrong. */
import { isJsonObject, type JsonObject } from '../src/core/json.ts';
import { assertUrl } from './gateway-url.ts';
import { UsageError } from './usage-error.ts';

export interface GatewayAnswer {
  readonly status: number;
  readonly body: JsonObject;
}

export interface GatewayClient {
  readonly get: (path: string, token: string) => Promise<GatewayAnswer>;
  readonly post: (path: string, token: string, body: JsonObject) => Promise<GatewayAnswer>;
  readonly patch: (path: string, token: string, body: JsonObject) => Promise<GatewayAnswer>;
  readonly delete: (path: string, token: string) => Promise<GatewayAnswer>;
}

const timeoutMs = 10_000;

/** Throws a `UsageError` when nothing that speaks JSON answers at `url`. */
export function gatewayClient(url: string): GatewayClient {
  assertUrl(url);
  const send = (path: string, token: string, init: RequestInit) => request(new URL(path, url), token, init);
  return {
    get: (path, token) => send(path, token, {}),
    delete: (path, token) => send(path, token, { method: 'DELETE' }),
    post: (path, token, body) => send(path, token, { method: 'POST', ...asJson(body) }),
    patch: (path, token, body) => send(path, token, { method: 'PATCH', ...asJson(body) }),
  };
}

function asJson(body: JsonObject): RequestInit {
  return { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
}

async function request(url: URL, token: string, init: RequestInit): Promise<GatewayAnswer> {
  const headers = { ...init.headers, authorization: `Bearer ${token}` };
  const response = await reach(url, { ...init, headers, signal: AbortSignal.timeout(timeoutMs) });
  const body = await readJson(response);
  if (body === undefined) throw new UsageError(`What answers at ${url.origin} is not a Talos Gateway.`);
  return { status: response.status, body };
}

async function reach(url: URL, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch {
    throw new UsageError(`No gateway answers at ${url.origin}; ./scripts/start.sh starts one.`);
  }
}

async function readJson(response: Response): Promise<JsonObject | undefined> {
  try {
    const body: unknown = await response.json();
    return isJsonObject(body) ? body : undefined;
  } catch {
    return undefined;
  }
}
