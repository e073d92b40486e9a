/** `/mcp/{server_id}/sse` and `/mcp/{server_id}/messages`: MCP as it was before Streamable HTTP, for clients that know no other. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { LegacyConnections } from '../../../gateway/native/legacy/legacy-connections.ts';
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
import { createReauthenticate } from '../../stream-credentials.ts';

export interface LegacyRouteDeps extends NativeRequestDeps {
  readonly legacyConnections: LegacyConnections;
}

const tags = ['MCP'];
const Query = Type.Object({ session_id: Type.String({ maxLength: bounds.pathParameterCharsMax }) });

export function legacyMcpRoutes(app: App, deps: LegacyRouteDeps): void {
  const { legacyConnections: connections } = deps;
  const asked = { ...deps, reauthenticate: createReauthenticate(deps.authenticate) };
  const onRequest = judgedNative(deps);

  app.get(
    '/mcp/:server_id/sse',
    {
      config: { surface: 'mcp.native.sse' },
      schema: {
        tags,
        summary: 'Open an MCP session as clients of the revision 2024-11-05 do',
        description:
          'An event stream. Its first event, `endpoint`, says where to post messages; all else comes as events `message`.',
        params: Params,
        response: { 200: Type.String({ description: 'text/event-stream' }) },
      },
      onRequest,
      exposeHeadRoute: false,
    },
    async (request, reply) => {
      const serverId = request.params.server_id;
      const stream = sinkOf(deps.telemetry, request, reply);
      const id = await connections.open({ ...addressed(asked, request, serverId), serverId });
      stream.sendAs('endpoint', `/mcp/${encodeURIComponent(serverId)}/messages?session_id=${id}`);
      connections.serve(id, stream);
      return reply;
    },
  );

  app.post(
    '/mcp/:server_id/messages',
    {
      config: { surface: 'mcp.native.messages', speaksJsonRpc: true },
      schema: {
        tags,
        summary: 'Post a message in such a session',
        description: 'Answered with 202; what the message is answered with comes on the stream.',
        params: Params,
        querystring: Query,
        body: Message,
        response: { 202: Type.Null({ description: 'Taken.' }), 400: Response, 404: Response },
      },
      onRequest,
    },
    async (request, reply) => {
      const { headers, params, query } = request;
      const { answer, done } = await connections.post({
        ...addressed(asked, request, params.server_id),
        serverId: params.server_id,
        sessionId: query.session_id,
        ...posted(deps, request),
        headers: { protocolVersion: oneHeader(headers['mcp-protocol-version']), method: undefined, name: undefined },
      });
      send(answer, reply);
      // What is under way counts as such, though its client has been answered.
      await done;
      return reply;
    },
  );
}
