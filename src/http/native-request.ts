/** What requests of MCP clients share, whichever transport they come by: who may ask, what is known of the asker, how it is answered. */

import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonValue } from '../core/json.ts';
import { surfaceOf } from '../core/surfaces.ts';
import type { NativeAnswer } from '../gateway/native/answer.ts';
import type { ForwardSession } from '../gateway/native/sessions/forward-session.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { type AuthenticateRequest, authenticated, callerOf, type FactsOf } from './caller.ts';
import { forwardForeign } from './forward.ts';
import type { RequestLimits } from './limits.ts';
import { oneHeader } from './one-header.ts';
import { type OriginAllowed, onlyAllowedOrigins } from './origin.ts';
import { preferredWaitSec } from './prefer.ts';
import { baseUrl } from './protected-resource.ts';
import { ReplyEvents } from './reply-events.ts';
import { type Reauthenticate, shownBy } from './stream-credentials.ts';

export const Message = Type.Unknown({ description: 'One JSON-RPC 2.0 message of MCP.' });
export const Response = Type.Object({}, { additionalProperties: true, description: 'A JSON-RPC 2.0 response.' });
export const Params = Type.Object({ server_id: Type.String({ maxLength: bounds.pathParameterCharsMax }) });

export interface NativeRequestDeps {
  readonly authenticate: AuthenticateRequest;
  readonly originAllowed: OriginAllowed;
  readonly factsOf: FactsOf;
  readonly forwardSession: ForwardSession;
  readonly telemetry: Telemetry;
  readonly messagesAs: RequestLimits['messagesAs'];
}

/** The hooks in front of every route of MCP, in the order in which they judge. */
export function judgedNative({ originAllowed, forwardSession, authenticate }: NativeRequestDeps) {
  return [
    onlyAllowedOrigins(originAllowed),
    forwardForeign(forwardSession),
    authenticated(authenticate, 'open'),
    onlyKnown,
  ];
}

/** Unlike reading hashes of the log, nothing here is for strangers; 401 makes MCP clients look for a credential. */
async function onlyKnown(request: FastifyRequest): Promise<void> {
  const { principal, denial } = callerOf(request);
  if (principal.authMode === 'anonymous' && denial === undefined) throw new TalosError('AUTH_MISSING');
}

/** What a posted message has beside itself. */
export function posted({ messagesAs }: Pick<NativeRequestDeps, 'messagesAs'>, request: FastifyRequest) {
  const idempotencyKey = oneHeader(request.headers['idempotency-key']);
  const waitSec = preferredWaitSec(request);
  return {
    body: request.body as JsonValue | undefined,
    countMessage: messagesAs(request.routeOptions.config.surface ?? 'mcp.native', request),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(waitSec === undefined ? {} : { waitSec }),
  };
}

/** What it takes to know an asker, and to ask again later whether it is still the same. */
export interface Asked {
  readonly factsOf: FactsOf;
  readonly reauthenticate: Reauthenticate;
}

/** Who asks, from where, of which server and in which session; without a server, of all of them. */
export function addressed(deps: Asked, request: FastifyRequest, serverId: string | undefined) {
  const caller = callerOf(request);
  const sessionId = oneHeader(request.headers['mcp-session-id']);
  const shown = shownBy(request);
  return {
    caller,
    facts: deps.factsOf(request),
    base: baseUrl(request, request.server.protectedResource),
    ...(serverId === undefined ? {} : { serverId }),
    ...(sessionId === undefined ? {} : { sessionId }),
    // Without the request itself, which a session would keep for as long as it lasts.
    reauthenticate: () => deps.reauthenticate(shown, caller),
  };
}

export function sinkOf(telemetry: Telemetry, request: FastifyRequest, reply: FastifyReply): ReplyEvents {
  return new ReplyEvents(request, reply, {
    onOpen: () => {
      const { method, template } = surfaceOf(request.routeOptions.config.surface ?? 'mcp.native');
      telemetry.requestAnswered({ method, endpoint: template, status: 200, seconds: reply.elapsedTime / 1000 });
    },
    onCut: telemetry.mcpStreamCut,
  });
}

/** What went out on a stream is answered; what its record is called is still known to who counts. */
export function send(answer: NativeAnswer, reply: FastifyReply): FastifyReply {
  const { status, body, batch, auditRef, isReplay, sessionId, retryAfterSec, isStreamed } = answer;
  if (auditRef !== undefined) reply.header('x-talos-audit-ref', auditRef);
  if (isStreamed) return reply;
  if (isReplay) reply.header('idempotent-replayed', 'true');
  if (sessionId !== undefined) reply.header('mcp-session-id', sessionId);
  if (retryAfterSec !== undefined) reply.header('retry-after', String(retryAfterSec));
  // The schema is of one response.
  if (batch !== undefined) return reply.code(status).type('application/json').send(JSON.stringify(batch));
  return reply.code(status).send(body);
}
