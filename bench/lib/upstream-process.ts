/** A tool server that does as little as one can: what is measured is the way to it. Session era, without a session id. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

// Two tools that differ in nothing but their names: the operator has classified one of them.
const tool = {
  name: 'get_forecast',
  description: 'The forecast for a city.',
  inputSchema: {
    type: 'object',
    properties: { city: { type: 'string', maxLength: 100 }, days: { type: 'integer', minimum: 1, maximum: 14 } },
    required: ['city'],
    additionalProperties: false,
  },
};

const forecast = {
  content: [
    { type: 'text', text: 'Sunny, 24 degrees by noon, light wind from the north-west, no rain until the evening.' },
  ],
  structuredContent: { city: 'Lisbon', celsius: 24, wind: 'NW', rain: false },
  isError: false,
};

const answers: Readonly<Record<string, object>> = {
  initialize: {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {} },
    serverInfo: { name: 'bench', version: '1' },
  },
  'tools/list': { tools: [tool, { ...tool, name: 'book_forecast' }] },
  'tools/call': forecast,
};

interface Message {
  readonly id?: number | string;
  readonly method: string;
}

function reply(response: ServerResponse, text: string): void {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  response.writeHead(text === '' ? 202 : 200, headers).end(text);
}

function answer(body: string): string {
  const { id, method } = JSON.parse(body) as Message;
  if (id === undefined) return '';
  const result = answers[method];
  const outcome = result === undefined ? { error: { code: -32_601, message: 'Method not found' } } : { result };
  return JSON.stringify({ jsonrpc: '2.0', id, ...outcome });
}

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  if (request.method !== 'POST') {
    response.writeHead(405, { 'content-length': 0 }).end();
    return;
  }
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk: string) => {
    body += chunk;
  });
  request.on('end', () => reply(response, answer(body)));
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit());
