/** `GET /v1/mcp/servers…`: the tool servers, their tools and schemas, as far as the caller may use them. */
import { Type } from 'typebox';
import type { ListTools } from '../../../gateway/list-tools.ts';
import { type AuthenticateRequest, askerOf, authenticated, callerOf, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { onlySchemas, schemaPath } from './tool-path.ts';

const Servers = Type.Object({
  servers: Type.Array(
    Type.Object({
      id: Type.String(),
      name: Type.String(),
      transport: Type.String(),
      tags: Type.Array(Type.String()),
      health: Type.String({ description: '`up`, `failing`, `down` or `unknown`.' }),
      auth: Type.Optional(
        Type.String({
          description:
            '`oauth`: each user connects their account; `token_exchange`: the caller’s own token is exchanged; `client_credentials`: the gateway has one of its own.',
        }),
      ),
      metadata: Type.Object({ upstream: Type.Optional(Type.String()) }),
    }),
  ),
});

const Tools = Type.Object({
  server_id: Type.String(),
  tools: Type.Array(Type.Unsafe<object>({ type: 'object', additionalProperties: true })),
});

const Schema = Type.Object({
  server_id: Type.String(),
  tool_name: Type.String(),
  json_schema: Type.Unknown(),
  schema_hash: Type.String({ description: '`sha256:` and the hex sha256 of the canonical input schema.' }),
  definition_hash: Type.String({ description: 'The same over name, description, input and output schema.' }),
  version: Type.String(),
});

export function listToolsRoutes(
  app: App,
  deps: { readonly authenticate: AuthenticateRequest; readonly listTools: ListTools; readonly factsOf: FactsOf },
): void {
  const { listTools, factsOf } = deps;
  const onRequest = authenticated(deps.authenticate, 'bearer');

  app.get(
    '/v1/mcp/servers',
    {
      config: { surface: 'mcp.servers.list', legacyErrorKey: 'detail' },
      schema: { tags: ['MCP'], summary: 'List tool servers', response: { 200: Servers } },
      onRequest,
    },
    async (request) => {
      const servers = await listTools.askedServers(callerOf(request), factsOf(request));
      return {
        servers: servers.map(({ upstream, tags, ...server }) => ({
          ...server,
          tags: [...tags],
          metadata: upstream === undefined ? {} : { upstream },
        })),
      };
    },
  );

  app.get(
    '/v1/mcp/servers/:server_id/tools',
    {
      config: { surface: 'mcp.tools.list', legacyErrorKey: 'detail' },
      schema: {
        tags: ['MCP'],
        summary: 'List the tools of a server',
        params: Type.Object({ server_id: Type.String() }),
        response: { 200: Tools },
      },
      onRequest,
    },
    async (request, reply) => {
      const { server_id: serverId } = request.params;
      const tools = await listTools.tools({
        ...askerOf(request, factsOf),
        serverId,
        signal: clientGone(reply),
      });
      return { server_id: serverId, tools: tools.map((tool) => ({ ...tool, server_id: serverId })) };
    },
  );

  app.get(
    '/v1/mcp/servers/:server_id/tools/*',
    {
      config: { surface: 'mcp.tools.schema', legacyErrorKey: 'detail' },
      schema: { tags: ['MCP'], summary: 'The schema of a tool', response: { 200: Schema } },
      onRequest: [onRequest, onlySchemas],
    },
    async (request, reply) => {
      const path = schemaPath(request.raw.url ?? '');
      const tool = await listTools.tool({
        ...path,
        ...askerOf(request, factsOf),
        signal: clientGone(reply),
      });
      return {
        server_id: path.serverId,
        tool_name: path.toolName,
        json_schema: tool.definition['inputSchema'] ?? {},
        schema_hash: tool.schemaHash,
        definition_hash: tool.definitionHash,
        version: '1.0.0',
      };
    },
  );
}
