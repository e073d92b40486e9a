/** A tool server made with the official SDK that takes nobody without a token of its authorization server, made for it. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type NodeIncomingMessageLike, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';
import type { AuthorizationServer, Grant } from './authorization-server.ts';

export interface GuardedServer {
  readonly url: string;
  /** What it says of itself (RFC 9728), in place of the truth. */
  metadata: Record<string, unknown>;
  /** The users whose requests were let in, in order. */
  readonly seen: string[];
  /** How often somebody was sent away. */
  refused: number;
  /** Takes no token, however good. */
  refusesAll: boolean;
  readonly close: () => Promise<void>;
}

/** Tools: `whoami` says whose token it was asked with; `delete_all` needs a scope; each user has `only_<user>`. */
export async function startGuardedServer(issuer: AuthorizationServer): Promise<GuardedServer> {
  const handler = createMcpHandler(({ authInfo }) => serverOf(authInfo?.clientId ?? ''), { legacy: 'stateless' });
  const answer = toNodeHandler(handler);
  const http = createServer((request, response) => {
    const path = (request.url ?? '').split('?', 1)[0];
    if (path === '/.well-known/oauth-protected-resource/mcp') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ resource: self.url, authorization_servers: [issuer.url], ...self.metadata }));
      return;
    }
    const [, token = ''] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
    const grant = self.refusesAll ? undefined : issuer.grantOf(token);
    if (grant === undefined || grant.resource !== self.url) {
      self.refused++;
      response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${self.metadataUrl}"` }).end();
      return;
    }
    if (lacksScope(request.headers['mcp-name'], grant)) {
      response.writeHead(403, { 'www-authenticate': 'Bearer error="insufficient_scope", scope="files:delete"' }).end();
      return;
    }
    self.seen.push(grant.user);
    const auth = { token, clientId: grant.user, scopes: grant.scope.split(' ') };
    void answer(Object.assign(request, { auth }) as NodeIncomingMessageLike, response);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const self = {
    url: `${origin}/mcp`,
    metadataUrl: `${origin}/.well-known/oauth-protected-resource/mcp`,
    metadata: {},
    seen: [] as string[],
    refused: 0,
    refusesAll: false,
    async close() {
      await handler.close();
      http.closeAllConnections();
      http.close();
      await once(http, 'close');
    },
  };
  return self;
}

function lacksScope(tool: string | string[] | undefined, grant: Grant): boolean {
  return tool === 'delete_all' && !grant.scope.split(' ').includes('files:delete');
}

function serverOf(user: string): McpServer {
  const server = new McpServer({ name: 'guarded', version: '1' }, { capabilities: { tools: {} } });
  const inputSchema = fromJsonSchema<Record<string, unknown>>({ type: 'object', properties: {} });
  for (const name of ['whoami', 'delete_all', `only_${user.replaceAll(/\W/g, '_')}`]) {
    server.registerTool(name, { description: `Says ${name}`, inputSchema }, () => ({
      content: [{ type: 'text', text: user }],
    }));
  }
  return server;
}
