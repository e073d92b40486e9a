/** Tool servers: listed, added, changed, removed and tried while the gateway runs. */

import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { plainServerFields } from '../../../config/server-aliases.ts';
import type { JsonObject } from '../../../core/json.ts';
import { withoutCredentials } from '../../../core/mcp-server.ts';
import { formatRate } from '../../../core/rate.ts';
import { secretReference } from '../../../core/secret-reference.ts';
import type { ManageServers, ServerView } from '../../../gateway/manage-servers.ts';
import { type AuthenticateRequest, askerOf, authenticated, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { notFound } from '../../surfaces.ts';
import { AuditRef, answered, withAuditRef } from './answered.ts';

const Health = Type.Object({
  state: Type.String({
    description:
      '`unknown`: not asked yet; `up`: it answered; `failing`: the last request had no answer; `down`: it is asked by probes only.',
  }),
  failures: Type.Integer({ description: 'Requests without an answer since the last answer.' }),
  answered_at: Type.Optional(Type.String()),
  last_failure: Type.Optional(Type.Object({ code: Type.String(), at: Type.String() })),
  retry_in_ms: Type.Optional(Type.Integer({ description: 'Until the next probe, while it is down.' })),
});

const Server = Type.Object({
  id: Type.String(),
  name: Type.String(),
  transport: Type.String(),
  tags: Type.Array(Type.String()),
  enabled: Type.Boolean(),
  source: Type.String({
    description: '`configuration`: set by file or environment, and changed there; `api`: added here.',
  }),
  url: Type.Optional(Type.String({ description: 'Without query and fragment.' })),
  command: Type.Optional(Type.String()),
  args: Type.Optional(Type.Array(Type.String())),
  cwd: Type.Optional(Type.String()),
  header_names: Type.Array(Type.String()),
  env_names: Type.Array(Type.String()),
  auth: Type.Optional(
    Type.Object({
      type: Type.String({ description: '`oauth`, `token_exchange` or `client_credentials`.' }),
      client_id: Type.Optional(Type.String({ description: 'Absent where the gateway makes itself known.' })),
      scopes: Type.Optional(Type.Array(Type.String())),
    }),
  ),
  secrets: Type.Array(Type.String(), { description: 'Names of the secrets that it refers to.' }),
  allow_private: Type.Boolean(),
  call_timeout: Type.Optional(Type.Number({ description: 'Seconds.' })),
  max_concurrency: Type.Optional(Type.Integer()),
  max_queue: Type.Optional(Type.Integer()),
  max_sessions: Type.Optional(Type.Integer()),
  sessions: Type.Optional(Type.String()),
  max_memory: Type.Optional(Type.Integer({ description: 'Bytes.' })),
  max_open_files: Type.Optional(Type.Integer()),
  rate_limit: Type.Optional(Type.String()),
  pins: Type.String({ description: '`enforce` or `record`.' }),
  problems: Type.Array(Type.String(), { description: 'Why it is not used; empty where it is.' }),
  version: Type.Optional(Type.Integer({ description: 'Counts the changes of a server that was added here.' })),
  created_at: Type.Optional(Type.String()),
  updated_at: Type.Optional(Type.String()),
  health: Type.Optional(Health),
});

const Changed = withAuditRef(Server);

// What each key may hold is said by the table that reads them for the file too.
const Fields = Type.Object(
  {
    name: Type.Optional(Type.Unknown()),
    transport: Type.Optional(Type.Unknown({ description: '`auto`, `http`, `sse`, `jsonrpc` or `stdio`.' })),
    url: Type.Optional(Type.Unknown()),
    endpoint: Type.Optional(Type.Unknown({ description: 'The same as `url`.' })),
    headers: Type.Optional(
      Type.Unknown({ description: `By name; each refers to a secret, such as ${secretReference('github')}.` }),
    ),
    auth: Type.Optional(
      Type.Unknown({
        description:
          'How the gateway gets the token that it sends: `type`, `client_id` and what belongs to the type; null takes it away.',
      }),
    ),
    command: Type.Optional(Type.Unknown()),
    args: Type.Optional(Type.Unknown()),
    env: Type.Optional(Type.Unknown({ description: 'By name; each refers to a secret.' })),
    cwd: Type.Optional(Type.Unknown()),
    call_timeout: Type.Optional(Type.Unknown({ description: 'Seconds, or text such as `90s`.' })),
    max_concurrency: Type.Optional(Type.Unknown()),
    max_queue: Type.Optional(Type.Unknown()),
    max_sessions: Type.Optional(Type.Unknown()),
    sessions: Type.Optional(Type.Unknown({ description: '`dedicated` or `shared`.' })),
    max_memory: Type.Optional(Type.Unknown({ description: 'Bytes, or text such as `512MiB`.' })),
    max_open_files: Type.Optional(Type.Unknown()),
    rate_limit: Type.Optional(Type.Unknown({ description: 'Such as `100/hour`.' })),
    pins: Type.Optional(
      Type.Unknown({ description: '`enforce`: a changed tool waits for an approval; `record`: it is only recorded.' }),
    ),
    tags: Type.Optional(Type.Unknown({ description: 'A list, or a map, which is taken as `name=value`.' })),
    enabled: Type.Optional(Type.Unknown()),
    allow_private: Type.Optional(
      Type.Unknown({ description: 'Whether private and loopback addresses may be dialled.' }),
    ),
  },
  { additionalProperties: true },
);
const NewServer = Type.Intersect([Type.Object({ id: Type.String({ minLength: 1, maxLength: 255 }) }), Fields]);
const Patch = Type.Intersect([
  Type.Object({
    expected_version: Type.Optional(Type.Integer({ description: 'Refuse with 409 when the server is at another.' })),
  }),
  Fields,
]);

const Tested = Type.Object({
  ok: Type.Boolean(),
  server_id: Type.String(),
  tools: Type.Optional(Type.Array(Type.String())),
  step: Type.Optional(Type.String({ description: 'What failed: `connect` or `list_tools`.' })),
  error: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
  audit_ref: Type.String({ description: 'The id of the record of this try.' }),
});

export interface McpServerRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly manageServers: ManageServers;
  readonly factsOf: FactsOf;
}

const tags = ['Administration'];
const legacyErrorKey = 'detail';
const params = Type.Object({ server_id: Type.String({ maxLength: 255 }) });

export function mcpServerRoutes(app: App, deps: McpServerRouteDeps): void {
  readRoutes(app, deps);
  changeRoutes(app, deps);
  testRoute(app, deps);
}

function readRoutes(app: App, { authenticate, manageServers, factsOf }: McpServerRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/mcp/servers',
    {
      config: { surface: 'admin.mcp.servers.list', legacyErrorKey },
      schema: {
        tags,
        summary: 'Tool servers, with those of the configuration',
        response: { 200: Type.Object({ servers: Type.Array(Server), total: Type.Integer() }) },
      },
      onRequest,
    },
    async (request) => {
      const views = await manageServers.list(askerOf(request, factsOf));
      return { servers: views.map(shown), total: views.length };
    },
  );

  app.get(
    '/admin/v1/mcp/servers/:server_id',
    {
      config: { surface: 'admin.mcp.servers.get', legacyErrorKey },
      schema: { tags, summary: 'A tool server', params, response: { 200: Server } },
      onRequest,
    },
    async (request) => {
      return shown(await manageServers.get(askerOf(request, factsOf), request.params.server_id));
    },
  );
}

function changeRoutes(app: App, { authenticate, manageServers, factsOf }: McpServerRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');

  app.post(
    '/admin/v1/mcp/servers',
    {
      config: { surface: 'admin.mcp.servers.add', legacyErrorKey },
      schema: { tags, summary: 'Add a tool server', body: NewServer, response: { 200: Changed } },
      onRequest,
    },
    async (request, reply) => {
      const { id, ...fields } = request.body;
      const asker = askerOf(request, factsOf);
      return answered(reply, await manageServers.add(asker, id, plainServerFields(fields as JsonObject)), shown);
    },
  );

  app.patch(
    '/admin/v1/mcp/servers/:server_id',
    {
      config: { surface: 'admin.mcp.servers.change', legacyErrorKey },
      schema: {
        tags,
        summary: 'Change a tool server: what is named is replaced, null takes it away',
        params,
        body: Patch,
        response: { 200: Changed },
      },
      onRequest,
    },
    async (request, reply) => {
      const { expected_version: version, ...patch } = request.body;
      const asker = askerOf(request, factsOf);
      const fields = plainServerFields(patch as JsonObject);
      const changed = await manageServers.change(asker, request.params.server_id, fields, version);
      return answered(reply, changed, shown);
    },
  );

  app.delete(
    '/admin/v1/mcp/servers/:server_id',
    {
      config: { surface: 'admin.mcp.servers.remove', legacyErrorKey },
      schema: {
        tags,
        summary: 'Remove a tool server; calls in flight are finished',
        params,
        response: { 200: Type.Object({ success: Type.Boolean(), id: Type.String(), audit_ref: AuditRef }) },
      },
      onRequest,
    },
    async (request, reply) => {
      const removed = await manageServers.remove(askerOf(request, factsOf), request.params.server_id);
      return answered(reply, removed, (id) => ({ success: true, id }));
    },
  );
}

const verb = ':test';

// The router cannot tell a parameter from the verb behind it.
async function onlyTests(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { server_id: target } = request.params as { readonly server_id: string };
  if (!target.endsWith(verb)) throw notFound(request, reply);
}

function testRoute(app: App, { authenticate, manageServers, factsOf }: McpServerRouteDeps): void {
  app.post(
    '/admin/v1/mcp/servers/:server_id',
    {
      config: { surface: 'admin.mcp.servers.test', legacyErrorKey },
      schema: {
        tags,
        summary: 'Connect to a tool server and list its tools, and say what happened',
        params,
        response: { 200: Tested },
      },
      onRequest: [authenticated(authenticate, 'admin'), onlyTests],
    },
    async (request, reply) => {
      const serverId = request.params.server_id.slice(0, -verb.length);
      const tested = await manageServers.test(askerOf(request, factsOf), serverId, clientGone(reply));
      return answered(reply, tested, (found) => {
        const head = { ok: found.isGood, server_id: serverId };
        if (found.isGood) return { ...head, tools: [...found.tools] };
        return { ...head, step: found.step, error: { code: found.code, message: found.reason } };
      });
    },
  );
}

function shown({ spec, source, stored, secrets, problems, health }: ServerView): Static<typeof Server> {
  const { id, name, transport, tags = [], enabled = true, url, headers = {}, env = {}, auth } = spec;
  const { command, args = [], cwd } = spec;
  return {
    ...{ id, name, transport, enabled, source },
    tags: [...tags],
    ...(url === undefined ? {} : { url: withoutCredentials(url) }),
    ...(command === undefined ? {} : { command, args: [...args] }),
    ...(cwd === undefined ? {} : { cwd }),
    header_names: Object.keys(headers),
    env_names: Object.keys(env),
    ...(auth === undefined ? {} : { auth: authOf(auth) }),
    secrets: [...secrets],
    allow_private: spec.publicOnly !== true,
    pins: spec.pins ?? 'enforce',
    ...limitsOf(spec),
    problems: [...problems],
    ...(stored === undefined
      ? {}
      : {
          version: stored.version,
          created_at: stored.createdAt.toISOString(),
          updated_at: stored.updatedAt.toISOString(),
        }),
    ...(health === undefined ? {} : { health: healthOf(health) }),
  };
}

function authOf({ type, clientId, scopes }: NonNullable<ServerView['spec']['auth']>) {
  const client = clientId === undefined ? {} : { client_id: clientId };
  return { type, ...client, ...(scopes === undefined ? {} : { scopes: [...scopes] }) };
}

function limitsOf(spec: ServerView['spec']) {
  const { callTimeoutMs, maxConcurrency, maxQueue, maxSessions, sessions, rateLimit } = spec;
  return {
    ...(callTimeoutMs === undefined ? {} : { call_timeout: callTimeoutMs / 1000 }),
    ...(maxConcurrency === undefined ? {} : { max_concurrency: maxConcurrency }),
    ...(maxQueue === undefined ? {} : { max_queue: maxQueue }),
    ...(maxSessions === undefined ? {} : { max_sessions: maxSessions }),
    ...(sessions === undefined ? {} : { sessions }),
    ...(spec.maxMemoryBytes === undefined ? {} : { max_memory: spec.maxMemoryBytes }),
    ...(spec.maxOpenFiles === undefined ? {} : { max_open_files: spec.maxOpenFiles }),
    ...(rateLimit === undefined ? {} : { rate_limit: formatRate(rateLimit) }),
  };
}

function healthOf({ state, failures, answeredAtMs, lastFailure, retryInMs }: NonNullable<ServerView['health']>) {
  return {
    state,
    failures,
    ...(answeredAtMs === undefined ? {} : { answered_at: new Date(answeredAtMs).toISOString() }),
    ...(lastFailure === undefined
      ? {}
      : { last_failure: { code: lastFailure.code, at: new Date(lastFailure.atMs).toISOString() } }),
    ...(retryInMs === undefined ? {} : { retry_in_ms: retryInMs }),
  };
}
