/** `POST /v1/mcp/servers/{server_id}/tools/{tool_name}:call`: one tool call over REST. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { JsonObject } from '../../../core/json.ts';
import { receiptToJson } from '../../../core/receipt.ts';
import type { CallTool } from '../../../gateway/call-tool.ts';
import { idempotencyKeyOf, idempotencyKeyPattern } from '../../../gateway/idempotency-key.ts';
import type { ReadLog } from '../../../gateway/read-log.ts';
import { type AuthenticateRequest, authenticated, callerOf, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { preferenceApplied, preferredWaitSec, prefers } from '../../prefer.ts';
import { callPath, onlyCalls } from './tool-path.ts';

const ApprovalId = Type.String({
  maxLength: 64,
  description: 'What `APPROVAL_PENDING` told: resumes the call that a human had to approve, with the same arguments.',
});

const Body = Type.Object({
  input: Type.Record(Type.String(), Type.Unknown(), { description: "The tool's arguments." }),
  request_id: Type.Optional(
    Type.String({ minLength: 1, maxLength: bounds.requestIdCharsMax, description: 'Echoed and recorded.' }),
  ),
  session_id: Type.Optional(Type.String({ maxLength: bounds.requestIdCharsMax, description: 'Recorded.' })),
  approval_id: Type.Optional(ApprovalId),
  idempotency_key: Type.Optional(
    Type.String({ pattern: idempotencyKeyPattern, description: 'The same as the header `Idempotency-Key`.' }),
  ),
});

const Headers = Type.Object({
  prefer: Type.Optional(
    Type.String({
      description:
        '`receipt` asks for the receipt of the record of this call, as `receipt`; `wait=30` waits so many seconds for a human to approve it.',
    }),
  ),
  'x-talos-approval': Type.Optional(ApprovalId),
  'idempotency-key': Type.Optional(
    Type.String({
      pattern: idempotencyKeyPattern,
      description:
        'Under one key the tool is called at most once: repeated within a day with the same arguments, the call is answered with what it came to, with `Idempotent-Replayed: true`; with other arguments, or while it is still at work, it is refused with 409.',
    }),
  ),
});

const ToolErrorBody = Type.Object({
  code: Type.Number(),
  message: Type.String(),
  category: Type.String(),
  retryable: Type.Boolean(),
  details: Type.Optional(Type.Unknown()),
});

// Never `"error": null`: clients take the mere presence of the key for a failure.
const Answer = Type.Object({
  request_id: Type.String(),
  output: Type.Optional(Type.Unknown({ description: "The tool's result, when it succeeded." })),
  error: Type.Optional(ToolErrorBody),
  timing_ms: Type.Integer({ description: 'From the authorised request to the answer, in milliseconds.' }),
  audit_ref: Type.String({ description: 'The event id of the record of this call.' }),
  receipt: Type.Optional(
    Type.Unsafe<JsonObject>({
      type: 'object',
      additionalProperties: true,
      description: 'The receipt of that record, when `Prefer: receipt` asked for it.',
    }),
  ),
  receipt_url: Type.Optional(
    Type.String({ description: 'Where to fetch the receipt that was asked for, when it could not be made in time.' }),
  ),
});

export function callToolRoute(
  app: App,
  deps: {
    readonly authenticate: AuthenticateRequest;
    readonly callTool: CallTool;
    readonly readLog: Pick<ReadLog, 'ownReceipt'>;
    readonly factsOf: FactsOf;
  },
): void {
  app.post(
    '/v1/mcp/servers/:server_id/tools/*',
    {
      config: { surface: 'mcp.tools.call', legacyErrorKey: 'detail' },
      schema: { tags: ['MCP'], summary: 'Call a tool', headers: Headers, body: Body, response: { 200: Answer } },
      onRequest: [authenticated(deps.authenticate, 'bearer'), onlyCalls],
    },
    async (request, reply) => {
      const { input, request_id: requestId, session_id: sessionId, idempotency_key: keyInBody } = request.body;
      const { approval_id: approvalId = request.headers['x-talos-approval'] } = request.body;
      const waitSec = preferredWaitSec(request);
      // The caller's own name for this call is in its record and in whatever is answered, errors included.
      if (requestId !== undefined) request.id = requestId;
      const idempotencyKey = idempotencyKeyOf(request.headers['idempotency-key'], keyInBody);
      const answer = await deps.callTool({
        ...callPath(request.raw.url ?? ''),
        caller: callerOf(request),
        facts: deps.factsOf(request),
        input: input as JsonObject,
        ...(sessionId === undefined ? {} : { sessionId }),
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        ...(approvalId === undefined ? {} : { approvalId }),
        ...(waitSec === undefined ? {} : { waitSec }),
        signal: clientGone(reply),
      });
      reply.header('x-talos-audit-ref', answer.auditRef);
      if (answer.isReplay) reply.header('idempotent-replayed', 'true');
      const receipt = prefers(request, 'receipt') ? await receiptMember(deps.readLog, answer.auditRef) : {};
      if (receipt.receipt !== undefined) preferenceApplied(reply, 'receipt');
      return {
        request_id: answer.requestId,
        ...answer.result,
        timing_ms: answer.timingMs,
        audit_ref: answer.auditRef,
        ...receipt,
      };
    },
  );
}

/** The receipt, or where to fetch it once there is one. */
async function receiptMember(
  { ownReceipt }: Pick<ReadLog, 'ownReceipt'>,
  eventId: string,
): Promise<{ readonly receipt?: JsonObject; readonly receipt_url?: string }> {
  const receipt = await ownReceipt(eventId);
  return receipt === undefined ? { receipt_url: `/api/events/${eventId}/proof` } : { receipt: receiptToJson(receipt) };
}
