/** `/mcp/{server_id}` and `/mcp`: the native MCP endpoint over Streamable HTTP. */
import { Type } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import type { JsonValue } from '../../../core/json.ts';
import { surfaceOf } from '../../../core/surfaces.ts';
import type { NativeAnswer } from '../../../gateway/native/answer.ts';
import type { ForwardSession } from '../../../gateway/native/forward-session.ts';
import type { NativeMcp } from '../../../gateway/native/native-mcp.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import { type AuthenticateRequest, authenticated, callerOf, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { forwardForeign } from '../../forward.ts';
import { oneHeader } from '../../one-header.ts';
import { type OriginAllowed, onlyAllowedOrigins } from '../../origin.ts';
import { baseUrl } from '../../protected-resource.ts';
import { ReplyEvents } from '../../reply-events.ts';
import { createReauthenticate, type Reauthenticate, shownBy } from '../../stream-credentials.ts';

export const Message = Type.Unknown({ description: 'One JSON-RPC 2.0 message of MCP.' });
export const Response = Type.Object({}, { additionalProperties: true, description: 'A JSON-RPC 2.0 response.' });
const Events = Type.String({ description: 'text/event-stream: JSON-RPC 2.0 messages.' });
const Nothing = Type.Unknown({ description: 'It has ended.' });
export const Params = Type.Object({ server_id: Type.String({ maxLength: bounds.pathParameterCharsMax }) });

export interface NativeRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly nativeMcp: NativeMcp;
  readonly originAllowed: OriginAllowed;
  readonly factsOf: FactsOf;
  readonly forwardSession: ForwardSession;
  readonly telemetry: Telemetry;
}

/** What all handlers share. */
export interface Served extends NativeRouteDeps {
  readonly reauthenticate: Reauthenticate;
}

export function nativeMcpRoutes(app: App, deps: NativeRouteDeps): void {
  const served = { ...deps, reauthenticate: createReauthenticate(deps.authenticate) };
  const onRequest = [
    onlyAllowedOrigins(deps.originAllowed),
    forwardForeign(deps.forwardSession),
    authenticated(deps.authenticate, 'open'),
    onlyKnown,
  ];
  const post = {
    schema: { ...posted, body: Message, response: { 200: Response, 400: Response, 404: Response } },
    onRequest,
  };
  const listen = {
    schema: { ...listened, response: { 200: Events, 404: Response, 406: Response } },
    onRequest,
    exposeHeadRoute: false,
  };
  const end = { schema: { ...ended, response: { 200: Nothing, 404: Response } }, onRequest };

  app.post(
    '/mcp/:server_id',
    {
      ...post,
      config: { surface: 'mcp.native' },
      schema: { ...post.schema, ...ofOne('Speak MCP with one tool server') },
    },
    async (request, reply) => answerPost(served, request, reply, request.params.server_id),
  );
  app.post(
    '/mcp',
    {
      ...post,
      config: { surface: 'mcp.native.all' },
      schema: { ...post.schema, summary: 'Speak MCP with all tool servers as one, tools named server__tool' },
    },
    async (request, reply) => answerPost(served, request, reply),
  );
  app.get(
    '/mcp/:server_id',
    {
      ...listen,
      config: { surface: 'mcp.native.listen' },
      schema: { ...listen.schema, ...ofOne('Listen in an MCP session') },
    },
    async (request, reply) => answerGet(served, request, reply, request.params.server_id),
  );
  app.get(
    '/mcp',
    {
      ...listen,
      config: { surface: 'mcp.native.listen.all' },
      schema: { ...listen.schema, summary: 'Listen in an MCP session with all tool servers' },
    },
    async (request, reply) => answerGet(served, request, reply),
  );
  app.delete(
    '/mcp/:server_id',
    { ...end, config: { surface: 'mcp.native.end' }, schema: { ...end.schema, ...ofOne('End an MCP session') } },
    async (request, reply) => answerDelete(served, request, reply, request.params.server_id),
  );
  app.delete(
    '/mcp',
    {
      ...end,
      config: { surface: 'mcp.native.end.all' },
      schema: { ...end.schema, summary: 'End an MCP session with all tool servers' },
    },
    async (request, reply) => answerDelete(served, request, reply),
  );
}

const tags = ['MCP'];

const posted = {
  tags,
  description:
    'Streamable HTTP, for the protocol revisions 2024-11-05 to 2025-11-25 and 2026-07-28. A request is answered with one JSON body, or, when something precedes the answer and the client accepts it, with an event stream. `initialize` opens a session. Notifications and responses are answered with 202. A `tools/call` takes an idempotency key as the header `Idempotency-Key` or as `params._meta["org.talosprotocol/idempotencyKey"]`.',
};

const listened = {
  tags,
  description:
    'The event stream of what belongs to no request of the session that `Mcp-Session-Id` names, or, with `Last-Event-ID`, the rest of a stream that broke off.',
};

const ended = { tags, description: 'Ends the session that `Mcp-Session-Id` names.' };

function ofOne<const Summary extends string>(summary: Summary) {
  return { summary, params: Params };
}

async function answerPost(deps: Served, request: FastifyRequest, reply: FastifyReply, serverId?: string) {
  const { headers } = request;
  const idempotencyKey = oneHeader(headers['idempotency-key']);
  const answer = await deps.nativeMcp.post({
    ...addressed(deps, request, serverId),
    body: request.body as JsonValue | undefined,
    headers: {
      protocolVersion: oneHeader(headers['mcp-protocol-version']),
      method: oneHeader(headers['mcp-method']),
      name: oneHeader(headers['mcp-name']),
      parameter: (name) => oneHeader(headers[name]),
    },
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(acceptsEvents(request) ? { sink: sinkOf(deps, request, reply) } : {}),
    signal: clientGone(reply),
  });
  return send(answer, reply);
}

async function answerGet(deps: Served, request: FastifyRequest, reply: FastifyReply, serverId?: string) {
  const sessionId = sessionIdOf(request, reply);
  if (!acceptsEvents(request)) return send(notAcceptable, reply);
  const lastEventId = oneHeader(request.headers['last-event-id']);
  const answer = await deps.nativeMcp.listen({
    ...addressed(deps, request, serverId),
    sessionId,
    ...(lastEventId === undefined ? {} : { lastEventId }),
    sink: sinkOf(deps, request, reply),
  });
  return send(answer, reply);
}

async function answerDelete(deps: Served, request: FastifyRequest, reply: FastifyReply, serverId?: string) {
  const sessionId = sessionIdOf(request, reply);
  return send(await deps.nativeMcp.end({ ...addressed(deps, request, serverId), sessionId }), reply);
}

export function addressed(deps: Served, request: FastifyRequest, serverId: string | undefined) {
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

/** Without a session there is nothing here: clients of both eras take 405 for that. */
function sessionIdOf({ headers }: FastifyRequest, reply: FastifyReply): string {
  const sessionId = oneHeader(headers['mcp-session-id']);
  if (sessionId !== undefined) return sessionId;
  reply.header('allow', 'POST');
  throw new TalosError('METHOD_NOT_ALLOWED');
}

function acceptsEvents({ headers }: FastifyRequest): boolean {
  return headers.accept?.includes('text/event-stream') === true;
}

const notAcceptable: NativeAnswer = {
  status: 406,
  body: { jsonrpc: '2.0', id: null, error: { code: -32_000, message: 'Accept text/event-stream to listen.' } },
};

export function sinkOf({ telemetry }: Served, request: FastifyRequest, reply: FastifyReply): ReplyEvents {
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
  const { status, body, auditRef, isReplay, sessionId, retryAfterSec, isStreamed } = answer;
  if (auditRef !== undefined) reply.header('x-talos-audit-ref', auditRef);
  if (isStreamed) return reply;
  if (isReplay) reply.header('idempotent-replayed', 'true');
  if (sessionId !== undefined) reply.header('mcp-session-id', sessionId);
  if (retryAfterSec !== undefined) reply.header('retry-after', String(retryAfterSec));
  return reply.code(status).send(body);
}

/** Unlike reading hashes of the log, nothing here is for strangers; 401 makes MCP clients look for a credential. */
export async function onlyKnown(request: FastifyRequest): Promise<void> {
  const { principal, denial } = callerOf(request);
  if (principal.authMode === 'anonymous' && denial === undefined) throw new TalosError('AUTH_MISSING');
}
