/**
 * Tool servers that speak only the era of sessions and ask their clients, made with the official SDK (version 1): over
 * HTTP in this process, over stdio by `asking-stdio-program.ts`.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import {
  CallToolRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  ListRootsResultSchema,
  ListToolsRequestSchema,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js';

export interface AskingServer {
  readonly url: string;
  /** Every call that came, by its tool, in order. */
  readonly calls: string[];
  /** Tools whose calls were cancelled while they ran. */
  readonly cancelled: string[];
  /** What clients said that they offer. */
  readonly offers: string[][];
  /** Sessions that are open. */
  readonly sessions: () => number;
  readonly stop: () => Promise<void>;
}

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>;

const form = (message: string) => ({
  message,
  requestedSchema: { type: 'object' as const, properties: { name: { type: 'string' as const } } },
});
const askUser = async (extra: Extra, message: string) =>
  JSON.stringify(await extra.sendRequest({ method: 'elicitation/create', params: form(message) }, ElicitResultSchema));
const prompt = [{ role: 'user' as const, content: { type: 'text' as const, text: 'The capital of France?' } }];
const askModel = async (extra: Extra) =>
  JSON.stringify(
    await extra.sendRequest(
      { method: 'sampling/createMessage', params: { messages: prompt, maxTokens: 100 } },
      CreateMessageResultSchema,
    ),
  );
const askRoots = async (extra: Extra) =>
  JSON.stringify(await extra.sendRequest({ method: 'roots/list' }, ListRootsResultSchema));

const tools: Readonly<Record<string, (extra: Extra, server: Server) => Promise<string>>> = {
  plain: async () => 'said without asking',
  ask_user: (extra) => askUser(extra, 'Who?'),
  // Over HTTP on the stream of the session, not on that of the call.
  ask_apart: async (_, server) => JSON.stringify(await server.elicitInput(form('Apart?'))),
  ask_model: askModel,
  ask_roots: askRoots,
  ask_twice: async (extra) => `${await askUser(extra, 'First?')} ${await askUser(extra, 'Second?')}`,
  ask_together: async (extra) =>
    (await Promise.all([askUser(extra, 'Who?'), askModel(extra), askRoots(extra)])).join(' '),
  ask_caught: (extra) => askUser(extra, 'Who?').catch((error: Error) => `refused: ${error.message}`),
  // Gives up its question after a while, and answers without.
  ask_briefly: async (extra) => {
    const asked = extra.sendRequest({ method: 'elicitation/create', params: form('Quick?') }, ElicitResultSchema, {
      timeout: 2_000,
    });
    return await asked.then(JSON.stringify, () => 'answered without');
  },
  // Asks, and is at work until it is cancelled.
  ask_and_work: async (extra) => {
    await askUser(extra, 'Who?');
    await once(extra.signal, 'abort');
    return 'too late';
  },
  progress: async (extra) => {
    await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'working' } });
    const { progressToken } = extra._meta ?? {};
    const tell = async (progress: number) => {
      if (progressToken === undefined) return;
      await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress } });
    };
    await tell(1);
    const said = await askUser(extra, 'Go on?');
    await tell(2);
    return said;
  },
};

/** `seen` is told what comes in. */
export function askingServer(seen: Pick<AskingServer, 'calls' | 'cancelled' | 'offers'>): Server {
  const server = new Server({ name: 'asking', version: '1' }, { capabilities: { tools: {}, logging: {} } });
  server.oninitialized = () => void seen.offers.push(Object.keys(server.getClientCapabilities() ?? {}).sort());
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: Object.keys(tools).map((name) => ({ name, inputSchema: { type: 'object' as const } })),
  }));
  server.setRequestHandler(CallToolRequestSchema, async ({ params: { name } }, extra) => {
    seen.calls.push(name);
    extra.signal.addEventListener('abort', () => void seen.cancelled.push(name), { once: true });
    return { content: [{ type: 'text', text: (await tools[name]?.(extra, server)) ?? 'no such tool' }] };
  });
  return server;
}

/** Listens on a free port of the loopback interface. */
export async function startAskingServer(): Promise<AskingServer> {
  const seen = { calls: [] as string[], cancelled: [] as string[], offers: [] as string[][] };
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  const open = async () => {
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void sessions.set(id, transport),
      onsessionclosed: (id) => void sessions.delete(id),
    });
    // The SDK's own types disagree about absent members.
    await askingServer(seen).connect(transport as Parameters<Server['connect']>[0]);
    return transport;
  };
  const http = createServer(async (request, response) => {
    const id = request.headers['mcp-session-id'];
    const known = typeof id === 'string' ? sessions.get(id) : undefined;
    if (id !== undefined && known === undefined) {
      response.writeHead(404).end();
      return;
    }
    await (known ?? (await open())).handleRequest(request, response);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return {
    ...seen,
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    sessions: () => sessions.size,
    stop: async () => {
      http.closeAllConnections();
      http.close();
      await once(http, 'close');
    },
  };
}
