/** A request to the native endpoint, whose it is, and the way back to its client. */
import type { InboundHeaders } from '../../mcp/protocol/inbound.ts';
import type { Caller, RequestFacts } from '../caller.ts';
import type { McpSession } from './sessions/session.ts';
import type { EventSink } from './streams/event-sink.ts';
import type { Reply } from './streams/reply.ts';

export interface Turn {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  /** Absent at the endpoint of all servers. */
  readonly serverId?: string;
  /** The header `Idempotency-Key`. */
  readonly idempotencyKey?: string;
  /** How long the caller waits for a human, in place of what is set. Seconds. */
  readonly waitSec?: number;
  /** The address that browsers know the gateway by. */
  readonly base?: string;
  readonly headers: InboundHeaders;
  /** Judges the credentials anew. */
  readonly reauthenticate: () => Promise<Caller>;
  readonly session: McpSession | undefined;
  readonly reply: Reply;
  readonly sink?: EventSink;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}
