/**
 * Many tool servers in one process, each on a port of its own with its own tools. The arguments say how many servers, how
 * many tools each, and how many of the last ones hang, or take their time before every answer.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const [servers = 0, tools = 0, hanging = 0, slow = 0] = process.argv.slice(2).map(Number);
const slowMs = 2_000;

type Pace = 'at once' | 'slow' | 'never';

function paceOf(at: number): Pace {
  if (at >= servers - hanging) return 'never';
  return at >= servers - hanging - slow ? 'slow' : 'at once';
}

const inputSchema = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 100 }, days: { type: 'integer', minimum: 1, maximum: 14 } },
  required: ['city'],
  additionalProperties: false,
};
const definitions = Array.from({ length: tools }, (_, at) => ({
  name: `tool_${at}`,
  description: `Tool ${at} of its server, which does as little as one can.`,
  inputSchema,
}));
const results: Readonly<Record<string, object>> = {
  initialize: {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {} },
    serverInfo: { name: 'bench', version: '1' },
  },
  'tools/list': { tools: definitions },
};

function answer(response: ServerResponse, body: string): void {
  const { id, method } = JSON.parse(body) as { readonly id?: number; readonly method: string };
  const result = results[method];
  const outcome = result === undefined ? { error: { code: -32_601, message: 'Method not found' } } : { result };
  const text = id === undefined ? '' : JSON.stringify({ jsonrpc: '2.0', id, ...outcome });
  response.writeHead(text === '' ? 202 : 200, { 'content-type': 'application/json' }).end(text);
}

async function listen(pace: Pace): Promise<number> {
  const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
    if (pace === 'never') return;
    if (request.method !== 'POST') {
      response.writeHead(405).end();
      return;
    }
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => setTimeout(answer, pace === 'slow' ? slowMs : 0, response, body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

process.send?.(await Promise.all(Array.from({ length: servers }, (_, at) => listen(paceOf(at)))));
process.on('disconnect', () => process.exit());
