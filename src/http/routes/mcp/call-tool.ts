/** `POST /v1/mcp/servers/{server_id}/tools/{tool_name}:call`: one tool call over REST. */
import { Type } from '@fastify/type-provider-typebox';
import { bounds } from '../../../config/bounds.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { CallTool } from '../../../gateway/call-tool.ts';
import { type AuthenticateRequest, authenticated, callerOf, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { callPath, onlyCalls } from './tool-path.ts';

const Body = Type.Object({
  input: Type.Record(Type.String(), Type.Unknown(), { description: "The tool's arguments." }),
  request_id: Type.Optional(
    Type.String({ minLength: 1, maxLength: bounds.requestIdCharsMax, description: 'Echoed and recorded.' }),
  ),
  session_id: Type.Optional(Type.String({ maxLength: bounds.requestIdCharsMax, description: 'Recorded.' })),
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
});

export function callToolRoute(
  app: App,
  deps: { readonly authenticate: AuthenticateRequest; readonly callTool: CallTool; readonly factsOf: FactsOf },
): void {
  app.post(
    '/v1/mcp/servers/:server_id/tools/*',
    {
      config: { surface: 'mcp.tools.call', legacyErrorKey: 'detail' },
      schema: { tags: ['MCP'], summary: 'Call a tool', body: Body, response: { 200: Answer } },
      onRequest: [authenticated(deps.authenticate, 'bearer'), onlyCalls],
    },
    async (request, reply) => {
      const { input, request_id: requestId, session_id: sessionId } = request.body;
      // The caller's own name for this call is in its record and in whatever is answered, errors included.
      if (requestId !== undefined) request.id = requestId;
      const answer = await deps.callTool({
        ...callPath(request.raw.url ?? ''),
        caller: callerOf(request),
        facts: deps.factsOf(request),
        input: input as JsonObject,
        ...(sessionId === undefined ? {} : { sessionId }),
        signal: clientGone(reply),
      });
      reply.header('x-talos-audit-ref', answer.auditRef);
      return {
        request_id: answer.requestId,
        ...answer.result,
        timing_ms: answer.timingMs,
        audit_ref: answer.auditRef,
      };
    },
  );
}
