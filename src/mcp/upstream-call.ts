/** What is asked of a tool server, for whom, and what it answers. The same whichever way the server is reached. */
import type { JsonObject } from '../core/json.ts';
import type { RpcAnswer, RpcError } from './protocol/json-rpc.ts';
import type { ClientHello, Peer } from './protocol/peer.ts';
import { UpstreamError } from './upstream-error.ts';

/** What every request has, whatever it asks. */
export interface Asked {
  /** Sent along to HTTP servers as `X-Request-Id`. */
  readonly requestId: string;
  /** In place of the server's configured patience. */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
  /** What a server of the stateless era is told of the client; without it, that it offers nothing. */
  readonly client?: ClientHello;
  /** Sees what the server says before it answers, and is asked what the server asks. */
  readonly peer?: Peer;
  /** Goes along as `_meta`, less what the gateway itself says there; the progress token is another one on the way. */
  readonly meta?: JsonObject;
}

export interface ToolCall extends Asked {
  readonly name: string;
  readonly args: JsonObject;
  /** What the client gives to a server that asked for input before (MCP 2026-07-28, input-required results). */
  readonly input?: { readonly inputResponses?: JsonObject; readonly requestState?: string };
}

/** Any other request of MCP, such as `resources/read`, passed on as it is. */
export interface RelayedRequest extends Asked {
  readonly method: string;
  /** Without `_meta`. */
  readonly params: JsonObject;
}

/** What a tool server answered. `raw` are the exact bytes of its final JSON-RPC response. */
export type UpstreamAnswer =
  | { readonly kind: 'result'; readonly result: JsonObject; readonly isError: boolean; readonly raw: Buffer }
  /** It asks for input in place of an answer; only where it was told of a client. */
  | { readonly kind: 'input_required'; readonly result: JsonObject; readonly raw: Buffer }
  | { readonly kind: 'error'; readonly error: RpcError; readonly raw: Buffer };

/** Throws `UPSTREAM_INVALID_RESPONSE` for a result that is none, or that asks for input of nobody. */
export function upstreamAnswer(answer: RpcAnswer, { client }: Pick<Asked, 'client'>): UpstreamAnswer {
  if (answer.kind === 'error') return answer;
  const { result, raw } = answer;
  const resultType = result['resultType'];
  if (resultType === undefined || resultType === 'complete') {
    return { kind: 'result', result, isError: result['isError'] === true, raw };
  }
  if (resultType === 'input_required' && client !== undefined) return { kind: 'input_required', result, raw };
  throw new UpstreamError('UPSTREAM_INVALID_RESPONSE', {
    dispatched: true,
    inside: 'it asked for input in place of an answer, and there is nobody to give any',
  });
}
