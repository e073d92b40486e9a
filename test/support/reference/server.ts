/**
 * A tool server with everything that MCP has, made with the official SDK, for both eras on one address: sessions for
 * clients that begin with `initialize`, the stateless protocol for those that send an envelope.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  localhostHostValidation,
  localhostOriginValidation,
  type NodeIncomingMessageLike,
  NodeStreamableHTTPServerTransport,
  toNodeHandler,
  toWebRequest,
} from '@modelcontextprotocol/node';
import {
  createMcpHandler,
  createRequestStateCodec,
  type EventStore,
  isLegacyRequest,
  McpServer,
} from '@modelcontextprotocol/server';
import { registerQuestions, type State } from './questions.ts';
import { registerReading } from './reading.ts';
import { registerTools, type Switches, switchExtra } from './tools.ts';

export interface ReferenceServer {
  readonly url: string;
  /** Sessions that are open. */
  readonly sessions: () => number;
  /** Says to whoever listens that a resource is not what it was. */
  readonly updated: (uri: string) => void;
  readonly resourcesChanged: () => void;
  /** What was subscribed to, in all sessions and in their order. */
  readonly subscribed: readonly string[];
  /** Knows none of its sessions any more. */
  readonly forget: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

interface Session {
  readonly transport: NodeStreamableHTTPServerTransport;
  readonly server: McpServer;
}

export interface ReferenceOptions {
  /** Adds to what it has. */
  readonly extend?: (server: McpServer) => void;
}

/** Listens on a free port of the loopback interface. */
export async function startReferenceServer(options: ReferenceOptions = {}): Promise<ReferenceServer> {
  const subscribed: string[] = [];
  const sessions = new Map<string, Session>();
  const states = createRequestStateCodec<State>({ key: randomUUID() });
  const switches = createSwitches({
    onTools: () => {
      modern.notify.toolsChanged();
      for (const { server } of sessions.values()) switchExtra(server, switches.hasExtraTool());
    },
    onPrompts: () => {
      modern.notify.promptsChanged();
      for (const { server } of sessions.values()) server.sendPromptListChanged();
    },
  });
  const build = () => {
    const server = buildServer(switches, states, subscribed);
    options.extend?.(server);
    return server;
  };
  const modern = createMcpHandler(build, { legacy: 'reject' });
  const answerModern = toNodeHandler(modern);
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (!isLocal(request, response)) return;
    const body = request.method === 'POST' ? await readJson(request) : undefined;
    const isLegacy = await isLegacyRequest(await toWebRequest(request as NodeIncomingMessageLike, body));
    if (isLegacy) await answerSession(sessions, build, request, response, body);
    else await answerModern(request as NodeIncomingMessageLike, response, body);
  };
  // Who leaves in the middle of a request needs no answer.
  const http = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const stop = async () => {
    await modern.close();
    for (const { transport } of sessions.values()) await transport.close();
    await close(http);
  };
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    sessions: () => sessions.size,
    updated(uri) {
      modern.notify.resourceUpdated(uri);
      for (const { server } of sessions.values()) void server.server.sendResourceUpdated({ uri });
    },
    resourcesChanged() {
      modern.notify.resourcesChanged();
      for (const { server } of sessions.values()) server.sendResourceListChanged();
    },
    subscribed,
    async forget() {
      const known = [...sessions.values()];
      sessions.clear();
      for (const { transport } of known) await transport.close();
    },
    stop,
  };
}

function buildServer(
  switches: Switches,
  states: ReturnType<typeof createRequestStateCodec<State>>,
  subscribed: string[],
): McpServer {
  const server = new McpServer(
    { name: 'reference', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        logging: {},
      },
      requestState: { verify: states.verify },
    },
  );
  registerTools(server, switches);
  registerQuestions(server, states);
  registerReading(server, switches);
  server.server.setRequestHandler('resources/subscribe', ({ params }) => {
    subscribed.push(params.uri);
    return {};
  });
  server.server.setRequestHandler('resources/unsubscribe', () => ({}));
  return server;
}

/** After how long a client comes back for a stream that was ended. */
const retryMs = 100;

const validateHost = localhostHostValidation();
const validateOrigin = localhostOriginValidation();

/** A page of the open web must not reach a server on this machine through the browser of its user. */
function isLocal(request: IncomingMessage, response: ServerResponse): boolean {
  return validateHost(request, response) && validateOrigin(request, response);
}

async function answerSession(
  sessions: Map<string, Session>,
  build: () => McpServer,
  request: IncomingMessage,
  response: ServerResponse,
  body: unknown,
): Promise<void> {
  const id = request.headers['mcp-session-id'];
  const known = typeof id === 'string' ? sessions.get(id) : undefined;
  if (id !== undefined && known === undefined) {
    response.writeHead(404, { 'content-type': 'application/json' });
    response.end('{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}');
    return;
  }
  const { transport } = known ?? (await openSession(sessions, build));
  await transport.handleRequest(request, response, body);
}

async function openSession(sessions: Map<string, Session>, build: () => McpServer): Promise<Session> {
  const transport: NodeStreamableHTTPServerTransport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: memoryEventStore(),
    retryInterval: retryMs,
    onsessioninitialized: (id) => {
      sessions.set(id, session);
    },
    onsessionclosed: (id) => {
      sessions.delete(id);
    },
  });
  const server = build();
  const session = { transport, server };
  await server.connect(transport);
  return session;
}

/** Events of all streams of one session, in their order; ids tell their stream, so that one stream is replayed alone. */
function memoryEventStore(): EventStore {
  type Stored = Parameters<EventStore['storeEvent']>[1];
  const events: { readonly id: string; readonly stream: string; readonly message: Stored }[] = [];
  return {
    storeEvent: async (stream, message) => {
      const id = `${stream}_${events.length}`;
      events.push({ id, stream, message });
      return id;
    },
    replayEventsAfter: async (lastId, { send }) => {
      const at = events.findIndex(({ id }) => id === lastId);
      const stream = events[at]?.stream ?? '';
      for (const event of events.slice(at + 1).filter((event) => event.stream === stream)) {
        if (Object.keys(event.message).length > 0) await send(event.id, event.message);
      }
      return stream;
    },
  };
}

function createSwitches(tell: { readonly onTools: () => void; readonly onPrompts: () => void }): Switches {
  let hasTool = false;
  let hasPrompt = false;
  return {
    hasExtraTool: () => hasTool,
    hasExtraPrompt: () => hasPrompt,
    toggleTool: () => {
      hasTool = !hasTool;
      tell.onTools();
    },
    togglePrompt: () => {
      hasPrompt = !hasPrompt;
      tell.onPrompts();
    },
  };
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    return null;
  }
}

async function close(http: Server): Promise<void> {
  http.closeAllConnections();
  http.close();
  await once(http, 'close');
}
