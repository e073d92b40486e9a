/** `/mcp/{server_id}` and `/mcp`: the native MCP endpoint over Streamable HTTP. */

import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { TalosError } from '../../../core/errors.ts';
import type { NativeAnswer } from '../../../gateway/native/answer.ts';
import type { NativeMcp } from '../../../gateway/native/native-mcp.ts';
import { clientGone } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import {
  addressed,
  judgedNative,
  Message,
  type NativeRequestDeps,
  Params,
  posted,
  Response,
  send,
  sinkOf,
} from '../../native-request.ts';
import { oneHeader } from '../../one-header.ts';
import { createReauthenticate, type Reauthenticate } from '../../stream-credentials.ts';

const Events = Type.String({ description: 'text/event-stream: JSON-RPC 2.0 messages.' });
const Nothing = Type.Unknown({ description: 'It has ended.' });

export interface NativeRouteDeps extends NativeRequestDeps {
  readonly nativeMcp: NativeMcp;
}

/** What all handlers share. */
interface Served extends NativeRouteDeps {
  readonly reauthenticate: Reauthenticate;
}

export function nativeMcpRoutes(app: App, deps: NativeRouteDeps): void {
  const served = { ...deps, reauthenticate: createReauthenticate(deps.authenticate) };
  const onRequest = judgedNative(deps);
  const post = {
    schema: { ...postedTo, body: Message, response: { 200: Response, 400: Response, 404: Response } },
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
      config: { surface: 'mcp.native', speaksJsonRpc: true },
      schema: { ...post.schema, ...ofOne('Speak MCP with one tool server') },
    },
    async (request, reply) => answerPost(served, request, reply, request.params.server_id),
  );
  app.post(
    '/mcp',
    {
      ...post,
      config: { surface: 'mcp.native.all', speaksJsonRpc: true },
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

const postedTo = {
  tags,
  description:
    'Streamable HTTP, for the protocol revisions 2024-11-05 to 2025-11-25 and 2026-07-28. A request is answered with one JSON body, or, when something precedes the answer and the client accepts it, with an event stream. `initialize` opens a session. In sessions of 2025-03-26 the body may be a batch. Notifications and responses are answered with 202. A `tools/call` takes an idempotency key as the header `Idempotency-Key` or as `params._meta["org.talosprotocol/idempotencyKey"]`.',
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
  const answer = await deps.nativeMcp.post({
    ...addressed(deps, request, serverId),
    ...posted(deps, request),
    headers: {
      protocolVersion: oneHeader(headers['mcp-protocol-version']),
      method: oneHeader(headers['mcp-method']),
      name: oneHeader(headers['mcp-name']),
      parameter: (name) => oneHeader(headers[name]),
    },
    ...(acceptsEvents(request) ? { sink: sinkOf(deps.telemetry, request, reply) } : {}),
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
    sink: sinkOf(deps.telemetry, request, reply),
  });
  return send(answer, reply);
}

async function answerDelete(deps: Served, request: FastifyRequest, reply: FastifyReply, serverId?: string) {
  const sessionId = sessionIdOf(request, reply);
  return send(await deps.nativeMcp.end({ ...addressed(deps, request, serverId), sessionId }), reply);
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
