/** Tool servers over HTTP that outlive a single test: a script that behaves, tools that tests choose, and doors to close. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { childEnv } from './child-env.ts';
import { everythingProgram, freePort } from './mcp-processes.ts';
import { mcpScript, type Received, type Respond, type Script, said, sendResult, toolNamed } from './mcp-scripted.ts';

export interface Upstream {
  readonly url: string;
  /** Arguments of every call that reached a tool, in order. */
  readonly calls: readonly {
    readonly name: string;
    readonly args: JsonObject;
    readonly requestId: string | undefined;
  }[];
  /** Ends all connections and listens no more. */
  readonly close: () => Promise<void>;
  /** Listens again on the same port. */
  readonly reopen: () => Promise<void>;
}

export interface UpstreamOptions {
  readonly era?: 'session' | 'bare';
  /** Definitions beside those of `calls`, which take anything. */
  readonly tools?: readonly JsonObject[];
  /** What tools do; one that is not here says its own name. */
  readonly calls?: Readonly<Record<string, Respond>>;
  /** What else is not as usual. */
  readonly script?: Pick<Script, 'methods' | 'announcesToolChanges' | 'stream'>;
}

export async function startUpstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const calls: { name: string; args: JsonObject; requestId: string | undefined }[] = [];
  const own = Object.keys(options.calls ?? {}).filter((name) => !options.tools?.some((tool) => tool['name'] === name));
  const tools: readonly JsonValue[] = [...(options.tools ?? []), ...own.map(toolNamed)];
  const { respond } = mcpScript({
    era: options.era ?? 'bare',
    tools: () => tools,
    ...(options.calls === undefined ? {} : { calls: options.calls }),
    ...options.script,
  });
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const message = text === '' ? {} : (JSON.parse(text) as JsonObject);
    response.on('error', () => undefined);
    const { method = '', url = '', headers } = request;
    if (message['method'] === 'tools/call') calls.push(callOf(message, headers['x-request-id']));
    await respond({ method, url, headers, message }, response);
  });
  const port = await listen(server, 0);
  return {
    url: `http://127.0.0.1:${port}/`,
    calls,
    close: () => close(server),
    reopen: async () => void (await listen(server, port)),
  };
}

function callOf(message: JsonObject, requestId: string | string[] | undefined) {
  const params = message['params'] as JsonObject;
  return { name: String(params['name']), args: params['arguments'] as JsonObject, requestId: requestId?.toString() };
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
}

/** A tool that says its arguments. */
export const echo: Respond = (received, response) =>
  sendResult(received, response, said(JSON.stringify((received.message['params'] as JsonObject)['arguments'])));

export interface Gate {
  readonly respond: Respond;
  /** How many calls wait at the gate. */
  readonly waiting: () => number;
  /** How many of them were given up by who called. */
  readonly left: () => number;
  /** Answers all that wait, and from now on at once. */
  readonly open: () => void;
}

/** A tool that does not answer before the test says so. */
export function gate(): Gate {
  const held: (() => void)[] = [];
  let left = 0;
  let isOpen = false;
  const respond: Respond = (received: Received, response) => {
    const answer = () => sendResult(received, response, said('after the wait'));
    if (isOpen) return answer();
    held.push(answer);
    response.once('close', () => {
      if (!response.writableFinished) left++;
    });
  };
  const open = () => {
    isOpen = true;
    for (const answer of held.splice(0)) answer();
  };
  return { respond, waiting: () => held.length, left: () => left, open };
}

/** The official server over Streamable HTTP, as a process of its own. */
export async function startEverythingServer(): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> {
  const port = await freePort();
  const child = spawn(process.execPath, [everythingProgram, 'streamableHttp'], {
    env: { ...childEnv, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise<void>((resolve, reject) => {
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('listening on port')) resolve();
    });
    child.once('exit', () => reject(new Error(`the server did not start: ${text}`)));
  });
  const stop = async () => {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  return { url: `http://127.0.0.1:${port}/mcp`, stop };
}
