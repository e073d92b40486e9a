/** What this gateway knows of the MCP sessions of others on its database, and they of its own. */
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { readVoucher } from './core/gateway-key.ts';
import { createForwardSession, type ForwardSession } from './gateway/native/sessions/forward-session.ts';
import { createSessionDirectory, type SessionDirectory } from './gateway/native/sessions/session-directory.ts';
import type { ReadVoucher } from './http/forward.ts';
import { createGatewayRelay } from './mcp/network/gateway-relay.ts';
import type { openReadPool } from './storage/db.ts';
import { createMcpSessionStore } from './storage/mcp-sessions.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface OpenSharedSessionsOptions {
  readonly config: Pick<Config, 'advertiseUrl'>;
  readonly pool: ReturnType<typeof openReadPool>;
  /** Of this run of the gateway. */
  readonly instanceId: string;
  readonly gatewayKey: Buffer;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface SharedSessions {
  readonly directory: SessionDirectory;
  readonly forwardSession: ForwardSession;
  readonly readVoucher: ReadVoucher;
  /** To be called when the gateway listens, with its address. Throws `STORE_UNAVAILABLE`. */
  readonly listening: (url: string) => Promise<void>;
  /** Breaks off the streams of other gateways, which would last for ever. */
  readonly hangUp: () => void;
  readonly close: () => Promise<void>;
}

export function openSharedSessions(options: OpenSharedSessionsOptions): SharedSessions {
  const { config, pool, instanceId, gatewayKey: key, clock, telemetry } = options;
  const { log } = telemetry;
  const store = createMcpSessionStore(pool);
  const directory = createSessionDirectory({ store, key, gatewayId: instanceId, clock, log });
  const relay = createGatewayRelay();
  return {
    directory,
    forwardSession: createForwardSession({ directory, relay, key, clock, telemetry }),
    readVoucher: (header, request) =>
      readVoucher(key, header, request, { nowMs: clock.now(), skewMs: bounds.voucherSkewMs }),
    async listening(url) {
      const gatewayUrl = advertised(config, url);
      if (gatewayUrl !== undefined) await directory.reachedAt(gatewayUrl);
    },
    hangUp: relay.hangUp,
    async close() {
      await relay.close();
      await directory.close();
    },
  };
}

function advertised({ advertiseUrl }: Pick<Config, 'advertiseUrl'>, url: string): string | undefined {
  if (advertiseUrl === undefined) return undefined;
  return advertiseUrl.replace(/:0$/, `:${new URL(url).port}`);
}
