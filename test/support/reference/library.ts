/** What libraries have in common: resources of the same names that are not the same, and tools that speak of them. */
import type { McpServer } from '@modelcontextprotocol/server';
import { says, schemaOf } from './tools.ts';

/** Everything in it says `owner`. */
export function library(owner: string): (server: McpServer) => void {
  return (server) => {
    const uri = 'file:///x';
    const contents = [{ uri, mimeType: 'text/plain', text: owner }];
    server.registerResource('x', uri, { mimeType: 'text/plain' }, () => ({ contents }));
    server.registerTool('link', { description: 'Points at a resource, and shows it' }, () => ({
      content: [
        { type: 'resource_link' as const, uri, name: 'x' },
        { type: 'resource' as const, resource: { uri, text: owner } },
        { type: 'text' as const, text: uri },
      ],
    }));
    const inputSchema = schemaOf<{ uri?: string }>({
      type: 'object',
      properties: { uri: { type: 'string', 'x-mcp-header': 'Uri' }, more: { type: 'object' } },
    });
    server.registerTool('given', { description: 'Says its arguments', inputSchema }, (args) =>
      says(JSON.stringify(args)),
    );
  };
}

/** Resources page by page, one on each; none at `never`. `circle` leads back to where it came from. */
export function pages(owner: string, count: number, circle = false): (server: McpServer) => void {
  return (server) =>
    server.server.setRequestHandler('resources/list', ({ params }) => {
      if (params?.cursor === 'never') return new Promise<never>(() => undefined);
      const page = Number(params?.cursor ?? 0);
      const next = page + 1 < count ? page + 1 : circle ? page : undefined;
      return {
        resources: [{ uri: `page://${owner}/${page}`, name: `${page}` }],
        ...(next === undefined ? {} : { nextCursor: String(next) }),
      };
    });
}
