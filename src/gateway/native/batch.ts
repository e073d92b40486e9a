/**
 * Batches of JSON-RPC, which the protocol revision 2025-03-26 has and no other. Each message of one is judged, limited and
 * recorded by itself; what precedes an answer goes to the stream of the session.
 */
import { bounds } from '../../config/bounds.ts';
import { isJsonObject, type JsonValue } from '../../core/json.ts';
import type { InboundHeaders } from '../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../mcp/protocol/json-rpc.ts';
import { type NativeAnswer, refusal } from './answer.ts';
import type { McpSession } from './sessions/session.ts';

const batchVersion = '2025-03-26';

/** What is beside the messages of a batch. */
interface Batched {
  readonly headers: Pick<InboundHeaders, 'protocolVersion'>;
  /** The header `Idempotency-Key`. */
  readonly idempotencyKey?: string;
}

/** Why a session takes no such batch; undefined when it does. */
export function batchFault(
  messages: readonly JsonValue[],
  { headers, idempotencyKey }: Batched,
  session: McpSession | undefined,
): NativeAnswer | undefined {
  const { protocolVersion = batchVersion } = headers;
  if (session?.opening.protocolVersion !== batchVersion || protocolVersion !== batchVersion) {
    return invalid(
      `The body must be one JSON-RPC 2.0 message: only sessions of the revision ${batchVersion} take batches.`,
    );
  }
  if (messages.length === 0) return invalid('The batch is empty.');
  const { mcpBatchMessagesMax: max } = bounds;
  if (messages.length > max) return invalid(`A batch may have ${max} messages, not ${messages.length}.`);
  // Under one key one call is made.
  if (idempotencyKey !== undefined) {
    return invalid('The header Idempotency-Key does not go with a batch: params._meta takes a key for each call.');
  }
  return messages.some(isInitialize) ? invalid('initialize must not be part of a batch.') : undefined;
}

/** The answers of its messages in one, in no order that means anything; 202 where none has any. */
export function batchAnswer(answers: readonly NativeAnswer[]): NativeAnswer {
  const batch = answers.flatMap(({ body }) => (body === undefined ? [] : [body]));
  return batch.length === 0 ? { status: 202 } : { status: 200, batch };
}

function isInitialize(message: JsonValue): boolean {
  return isJsonObject(message) && message['method'] === 'initialize';
}

function invalid(message: string): NativeAnswer {
  return refusal(400, null, { code: rpcCodes.invalidRequest, message });
}
