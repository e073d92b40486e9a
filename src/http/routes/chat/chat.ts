/** `POST /mcp/tools/chat`: the chat tool, as its clients have always called it. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { Chat } from '../../../gateway/chat.ts';
import { type AuthenticateRequest, askerOf, authenticated, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

const Message = Type.Object(
  {
    role: Type.Union([Type.Literal('system'), Type.Literal('user'), Type.Literal('assistant')]),
    content: Type.String({ minLength: 1, maxLength: bounds.chatMessageCharsMax }),
  },
  { additionalProperties: false },
);

const Name = Type.String({ minLength: 1, maxLength: bounds.requestIdCharsMax });

const Body = Type.Object({
  session_id: Type.String({
    minLength: 1,
    maxLength: bounds.requestIdCharsMax,
    description: "The client's name for the conversation; the first request binds it to a capability.",
  }),
  model: Name,
  messages: Type.Array(Message, { minItems: 1, maxItems: bounds.chatMessagesMax }),
  capability: Type.Optional(
    Type.Union([Type.String({ minLength: 1, maxLength: bounds.capabilityTokenCharsMax }), Type.Null()], {
      description: 'For `tool:connector/method:chat`; not needed again in the same session.',
    }),
  ),
  temperature: Type.Optional(Type.Number({ minimum: 0, maximum: 2, description: '0.7 when absent.' })),
  max_tokens: Type.Optional(
    Type.Integer({ minimum: 1, maximum: bounds.chatTokensMax, description: '512 when absent.' }),
  ),
  timeout_ms: Type.Optional(
    Type.Integer({
      minimum: bounds.chatTimeoutMsMin,
      maximum: bounds.chatTimeoutMsMax,
      description: '60,000 when absent.',
    }),
  ),
  client_request_id: Type.Optional(Type.Union([Name, Type.Null()])),
});

const Completion = Type.Object({}, { additionalProperties: true, description: 'What the connector answered.' });
const Failure = Type.Object({}, { additionalProperties: true, description: '`code` and `message`.' });

export interface ChatRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly chat: Chat;
  readonly factsOf: FactsOf;
}

export function chatRoute(app: App, deps: ChatRouteDeps): void {
  app.post(
    '/mcp/tools/chat',
    {
      config: { surface: 'mcp.tools.chat', legacyErrorKey: 'error' },
      schema: {
        tags: ['MCP'],
        summary: 'Chat through the connector',
        body: Body,
        response: { 200: Completion, 500: Failure },
      },
      onRequest: authenticated(deps.authenticate, 'open'),
    },
    async (request, reply) => {
      const { session_id: sessionId, capability, client_request_id: requestId } = request.body;
      // The client's own name for this request correlates its four records.
      if (typeof requestId === 'string') request.id = requestId;
      const args = argumentsOf(request.body);
      const { auditRef, result } = await deps.chat({
        ...askerOf(request, deps.factsOf),
        sessionId,
        ...(typeof capability === 'string' ? { capability } : {}),
        args,
        timeoutMs: args.timeout_ms,
        signal: clientGone(reply),
      });
      reply.header('x-talos-audit-ref', auditRef);
      if ('completion' in result) return result.completion;
      return reply.code(500).send({ ...result.error, retryable: false, request_id: request.id, audit_ref: auditRef });
    },
  );
}

function argumentsOf(body: Static<typeof Body>) {
  const { session_id, model, messages, temperature = 0.7, max_tokens = 512, timeout_ms = 60_000 } = body;
  return { session_id, model, messages, temperature, max_tokens, timeout_ms } satisfies JsonObject;
}
