/** Tool servers made with the official SDK (version 2), over HTTP. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type NodeIncomingMessageLike, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, fromJsonSchema, type McpHttpHandler, McpServer } from '@modelcontextprotocol/server';
import { onTestFinished } from 'vitest';

export interface SdkServer {
  readonly url: string;
  readonly handler: McpHttpHandler;
  /** Names of the tools it offers; a test may add to it. */
  readonly tools: string[];
  /** The MCP methods it was asked, from the header of the stateless era. */
  readonly methods: (string | undefined)[];
}

/** `legacy: 'reject'` speaks the stateless era only. Every tool says its name and its arguments. */
export async function startSdkServer(options: {
  readonly legacy: 'stateless' | 'reject';
  readonly tools: string[];
}): Promise<SdkServer> {
  const { tools, legacy } = options;
  const handler = createMcpHandler(() => serverWith(tools), { legacy });
  const answer = toNodeHandler(handler);
  const methods: (string | undefined)[] = [];
  const http = createServer((request, response) => {
    const method = request.headers['mcp-method'];
    methods.push(typeof method === 'string' ? method : undefined);
    void answer(request as NodeIncomingMessageLike, response);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  onTestFinished(async () => {
    await handler.close();
    http.closeAllConnections();
    http.close();
  });
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`, handler, tools, methods };
}

function serverWith(names: readonly string[]): McpServer {
  const server = new McpServer({ name: 'sdk', version: '1' }, { capabilities: { tools: { listChanged: true } } });
  // The SDK's type of a schema does not know MCP's own keyword.
  const region: object = { type: 'string', 'x-mcp-header': 'Region' };
  const inputSchema = fromJsonSchema<Record<string, unknown>>({
    type: 'object',
    properties: { region, text: { type: 'string' } },
  });
  for (const name of names) {
    server.registerTool(name, { description: `Says ${name}`, inputSchema }, (args) => ({
      content: [{ type: 'text', text: `${name} ${JSON.stringify(args)}` }],
    }));
  }
  return server;
}
