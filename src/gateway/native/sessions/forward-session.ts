/**
 * A request for an MCP session of another gateway goes there as it came, with its client's own credential, which that
 * gateway judges. What it cannot see for itself, where the client came from, is vouched for by a signature.
 */
import type { Clock } from '../../../core/clock.ts';
import { signVoucher, type VouchedRequest, type Voucher } from '../../../core/gateway-key.ts';
import type { GatewayAnswer, GatewayRelay, GatewayRequest } from '../../../mcp/network/gateway-relay.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import type { Owner, SessionDirectory } from './session-directory.ts';

export type { GatewayAnswer };

/** What vouches for the client of a request that another gateway passes on. */
export const voucherHeader = 'x-talos-forwarded';

export type ForeignRequest = Omit<GatewayRequest, 'gatewayUrl'> & VouchedRequest & Voucher;

/**
 * What the gateway that has the session answers; undefined when it is no other gateway's, or that gateway is gone. The
 * request is asked for when there is somebody to pass it on to. Throws `STORE_UNAVAILABLE`, `SESSION_OWNER_LOST`,
 * `CALL_CANCELLED`, `STREAMS_FULL`.
 */
export type ForwardSession = (sessionId: string, request: () => ForeignRequest) => Promise<GatewayAnswer | undefined>;

export interface ForwardSessionOptions {
  readonly directory: Pick<SessionDirectory, 'ownerOf' | 'lost'>;
  readonly relay: Pick<GatewayRelay, 'send'>;
  readonly key: Buffer;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export function createForwardSession(options: ForwardSessionOptions): ForwardSession {
  const { directory, relay, key, clock, telemetry } = options;

  async function passOn(request: ForeignRequest, { gatewayUrl }: Owner): Promise<GatewayAnswer | undefined> {
    const voucher = signVoucher(key, request, request, clock.now());
    const headers = [...request.headers, voucherHeader, voucher];
    try {
      const answer = await relay.send({ ...request, gatewayUrl, headers });
      telemetry.mcpPassedOn(answer === undefined ? 'gateway_gone' : 'answered');
      return answer;
    } catch (error) {
      telemetry.mcpPassedOn('failed');
      throw error;
    }
  }

  return async (sessionId, request) => {
    const owner = await directory.ownerOf(sessionId);
    if (owner === undefined) return undefined;
    const answer = await passOn(request(), owner);
    if (answer !== undefined) return answer;
    const { gatewayId: gateway, gatewayUrl: url } = owner;
    telemetry.log.warn({ gateway, url }, 'a gateway cannot be reached, so a session that it has is given up');
    directory.lost(sessionId);
    return undefined;
  };
}
