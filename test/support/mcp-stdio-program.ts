/**
 * A scripted tool server over stdio, without any SDK. The name of a tool says what it does when called; the first
 * argument of the program how it treats `initialize`.
 */
import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';

type Message = {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: unknown;
  readonly error?: unknown;
};

type Id = Message['id'];

const [mode = 'normal'] = process.argv.slice(2);
const seen: (string | undefined)[] = [];
/** What waits for the reply to a request of ours. */
const asked = new Map<string, (reply: Message) => void>();
let hello: unknown;

function send(message: unknown): void {
  writeSync(1, `${JSON.stringify(message)}\n`);
}

function answer(id: Id, result: unknown): void {
  send({ jsonrpc: '2.0', id, result });
}

function say(id: Id, text: string): void {
  answer(id, { content: [{ type: 'text', text }] });
}

const tools: Record<string, (id: Id, args: Record<string, unknown>, meta: Record<string, unknown>) => void> = {
  hello: (id) => say(id, JSON.stringify(hello)),
  // Says what the reply to its question is.
  'asks the client': (id, args) => {
    asked.set(`q-${id}`, ({ result, error }) => say(id, JSON.stringify(result ?? error)));
    send({ jsonrpc: '2.0', id: `q-${id}`, method: 'elicitation/create', params: args });
  },
  // Asks, and answers at once.
  'asks in passing': (id) => {
    send({ jsonrpc: '2.0', id: `q-${id}`, method: 'roots/list' });
    say(id, 'passed');
  },
  'takes it back': (id) => {
    send({ jsonrpc: '2.0', id: `q-${id}`, method: 'elicitation/create' });
    send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: `q-${id}` } });
  },
  progresses: (id, _, meta) => {
    const progressToken = meta['progressToken'];
    send({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken, progress: 1 } });
    say(id, String(progressToken));
  },
  echo: (id, args) => say(id, String(args['text'])),
  // Answers by the order of `delayMs`, not by the order of the calls.
  later: (id, args) => setTimeout(say, Number(args['delayMs']), id, String(args['text'])),
  pid: (id) => say(id, String(process.pid)),
  environment: (id) => say(id, JSON.stringify({ env: process.env, cwd: process.cwd() })),
  seen: (id) => say(id, JSON.stringify(seen)),
  hang: () => undefined,
  'takes memory': () => {
    const kept = Array.from({ length: 64 }, () => Buffer.alloc(64 * 1024 * 1024, 1));
    send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: kept.length } });
  },
  crash: () => process.exit(7),
  'crash after answer': (id) => {
    say(id, 'last words');
    process.exit(0);
  },
  huge: () => writeSync(1, 'x'.repeat(200_000)),
  noise: (id) => {
    writeSync(1, 'this is no JSON\n\n[1,2]\n"text"\n{"jsonrpc":"2.0"}\n');
    say(id, 'after the noise');
  },
  'wrong id': (id) => {
    say(99_999, 'to nobody');
    say(id, 'to you');
  },
  twice: (id) => {
    say(id, 'first');
    say(id, 'second');
  },
  broken: (id) => send({ jsonrpc: '2.0', id, result: 'no object' }),
  error: (id) => send({ jsonrpc: '2.0', id, error: { code: -32_000, message: 'it failed', data: { why: 'because' } } }),
  logs: (id) => {
    send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 1 } });
    say(id, 'done');
  },
  asks: (id) => {
    send({ jsonrpc: '2.0', id: 'mine', method: 'sampling/createMessage', params: {} });
    send({ jsonrpc: '2.0', id: 'ping', method: 'ping' });
    say(id, 'asked');
  },
  changes: (id) => {
    extra.push('added later');
    send({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    say(id, 'changed');
  },
  complains: (id) => {
    writeSync(2, `${'long '.repeat(2_000)}\nshort\n`);
    say(id, 'complained');
  },
  // A child of its own that would outlive it.
  'has a child': (id) => say(id, String(spawn('sleep', ['600'], { stdio: 'ignore' }).pid)),
};

const extra: string[] = [];

function refuse(id: Id, code: number, data?: unknown): void {
  send({ jsonrpc: '2.0', id, error: { code, message: 'no', data } });
}

function initialize(id: Id, params: unknown): void {
  hello = params;
  if (mode === 'dies') process.exit(3);
  if (mode === 'refuses') refuse(id, -32_603);
  else if (mode === 'stateless') refuse(id, -32_022, { supported: ['2026-07-28'] });
  else if (mode !== 'mute') {
    const protocolVersion = mode === 'future' ? '2999-01-01' : '2025-11-25';
    answer(id, { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'scripted', version: '1' } });
  }
}

function discover(id: Id): void {
  answer(id, { supportedVersions: ['2026-07-28'], capabilities: { tools: { listChanged: true } } });
}

/** Says what it honours, then of each kind one change for every listener. */
function listen(id: Id, notifications: unknown): void {
  const _meta = { 'io.modelcontextprotocol/subscriptionId': id };
  send({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { notifications, _meta } });
  send({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta } });
}

function listTools(id: Id): void {
  const names = [...Object.keys(tools), ...extra];
  answer(id, { tools: names.map((name) => ({ name, inputSchema: { type: 'object' } })) });
}

function handle(message: Message): void {
  const { id, method, params = {} } = message;
  turnDeaf(method);
  seen.push(method ?? `reply to ${id}: ${JSON.stringify(message)}`);
  if (method === undefined) asked.get(String(id))?.(message);
  if (method === 'initialize') initialize(id, params);
  else if (mode === 'stateless' && id !== undefined && !('_meta' in params)) refuse(id, -32_602);
  else if (method === 'server/discover') discover(id);
  else if (method === 'subscriptions/listen') listen(id, params['notifications']);
  else if (method === 'tools/list') listTools(id);
  else if (method === 'tools/call') callTool(id, params);
}

function callTool(id: Id, params: Record<string, unknown>): void {
  const [args, meta] = [params['arguments'], params['_meta'] ?? {}] as Record<string, unknown>[];
  tools[String(params['name'])]?.(id, args ?? {}, meta ?? {});
}

// Reads nothing any more once its hands are shaken.
function turnDeaf(method: string | undefined): void {
  if (mode === 'deaf' && method === 'notifications/initialized') process.stdin.pause();
}

let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk: string) => {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) handle(JSON.parse(line) as Message);
});
if (mode === 'stubborn') {
  // Neither the end of its input nor SIGTERM makes it leave.
  process.on('SIGTERM', () => undefined);
  setInterval(() => undefined, 60_000);
}
