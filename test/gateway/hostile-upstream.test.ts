/**
 * A tool server that means ill, called over every face of the gateway at once: REST, and the native endpoint by the
 * official clients of both eras. Whatever it does, each call has one answer and one outcome in the log, was sent once,
 * and the next call is served.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as OlderClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as OlderTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { callTool, eventually, itemsOf, outcomesOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { flood, notification, oddities, tricksWith } from '../support/hostile-tools.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Received,
  type Respond,
  said,
  sendResult,
  startScripted,
} from '../support/mcp-scripted.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const tricks = tricksWith(() => bait.url);

interface Told {
  readonly text?: string;
  readonly code?: unknown;
  readonly auditRef: unknown;
}

type Face = (tool: string, server?: string) => Promise<Told>;

let hostile: Upstream;
let bait: { readonly url: string; readonly visits: () => number; readonly close: () => void };
let gateway: TestGateway;
const faces: Record<string, Face> = {};
const closing: (() => Promise<void>)[] = [];
let samplings = 0;

beforeAll(async () => {
  bait = await startBait();
  const calls = Object.fromEntries([
    ...Object.entries(tricks).map(([name, [respond]]) => [name, respond]),
    ...Object.entries(oddities),
    ['good', (received: Received, response: ServerResponse) => sendResult(received, response, said('good'))],
  ]) as Record<string, Respond>;
  hostile = await startUpstream({ era: 'session', calls });
  gateway = await startTestGateway({
    file: `servers:
  tested: { url: ${hostile.url}, call_timeout: 20 }
  hasty: { url: ${hostile.url}, call_timeout: 1 }
  process: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(scriptedStdioProgram)}] }
`,
  });
  faces['REST'] = overRest;
  faces['the session era'] = overSessions();
  faces['the stateless era'] = statelessly;
});

afterAll(async () => {
  for (const close of closing) await close();
  await gateway.stop();
  await hostile.close();
  bait.close();
});

const overRest: Face = async (tool, server = 'tested') => {
  const { body, headers } = await callTool(gateway, tool, {}, { server });
  const auditRef = headers.get('x-talos-audit-ref');
  if (body['code'] !== undefined) return { code: body['code'], auditRef };
  return { text: JSON.stringify(body['output']), auditRef };
};

/** Clients remember the reference of the last answer that had one: each of theirs makes one call at a time. */
function rememberingFetch() {
  let last: string | null = null;
  const own: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    last = response.headers.get('x-talos-audit-ref') ?? last;
    return response;
  };
  return { fetch: own, last: () => last };
}

function told(error: unknown): Told {
  const data = (error as { data?: JsonObject }).data;
  if (data === undefined) throw error;
  return { code: data['code'], auditRef: data['audit_ref'] };
}

function overSessions(): Face {
  const clients = new Map<string, { client: OlderClient; last: () => string | null }>();
  const connect = async (server: string) => {
    const client = new OlderClient({ name: 'older', version: '1' }, { capabilities: { sampling: {} } });
    client.setRequestHandler(CreateMessageRequestSchema, () => {
      samplings++;
      return { model: 'none', role: 'assistant', content: { type: 'text', text: 'nobody' } };
    });
    const remembering = rememberingFetch();
    await client.connect(new OlderTransport(new URL(`${gateway.url}/mcp/${server}`), { fetch: remembering.fetch }));
    closing.push(() => client.close());
    return { client, last: remembering.last };
  };
  return async (tool, server = 'tested') => {
    const found = clients.get(server) ?? (await connect(server));
    clients.set(server, found);
    try {
      const { content } = await found.client.callTool({ name: tool, arguments: {} });
      return { text: JSON.stringify(content), auditRef: found.last() };
    } catch (error) {
      // A session ends with the server's side of it, and the next call begins another one.
      clients.delete(server);
      return told(error);
    }
  };
}

const statelessly: Face = async (tool, server = 'tested') => {
  const remembering = rememberingFetch();
  const client = new Client({ name: 'newer', version: '1' }, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
  const url = new URL(`${gateway.url}/mcp/${server}`);
  await client.connect(new StreamableHTTPClientTransport(url, { fetch: remembering.fetch }));
  try {
    const { content } = await client.callTool({ name: tool, arguments: {} });
    return { text: JSON.stringify(content), auditRef: remembering.last() };
  } catch (error) {
    return told(error);
  } finally {
    await client.close();
  }
};

/** Somewhere that nobody may be led to. */
async function startBait() {
  let visits = 0;
  const server = createServer((_, response) => {
    visits++;
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, visits: () => visits, close: () => void server.close() };
}

/** Outcomes of the calls of a tool, by their references. */
async function outcomesByRef(tool: string, server = 'tested'): Promise<Map<unknown, JsonObject[]>> {
  const items = await outcomesOf(gateway, `limit=500&tool=${encodeURIComponent(tool)}&server_id=${server}`);
  return Map.groupBy(
    items.filter((item) => item['method'] === 'mcp.tools.call'),
    (item) => item['event_id'],
  );
}

async function callOverAllFaces(tool: string, server?: string): Promise<Told[]> {
  return Promise.all(Object.values(faces).map((call) => call(tool, server)));
}

const names = ['REST', 'the session era', 'the stateless era'];

describe('a tool that', () => {
  it.each(Object.entries(tricks))('%s', async (tool, [, code]) => {
    const before = hostile.calls.length;
    // Only where time is to run out is it short: elsewhere a machine that stands still must not look like a server.
    const server = code === 'UPSTREAM_TIMEOUT' ? 'hasty' : 'tested';
    const all = await callOverAllFaces(tool, server);
    expect(all.map((each) => each.code)).toEqual(names.map(() => code));
    const outcomes = await outcomesByRef(tool, server);
    expect(new Set(all.map(({ auditRef }) => auditRef))).toEqual(new Set(outcomes.keys()));
    expect([...outcomes.values()].map((items) => items.length)).toEqual(names.map(() => 1));
    const errors = [...outcomes.values()].flat().map((item) => (item['meta'] as JsonObject)['error']);
    expect(errors).toEqual(names.map(() => code));
    expect(hostile.calls.length - before).toBe(names.length);
    const next = await callOverAllFaces('good');
    expect(next.map(({ text }) => text)).toEqual(names.map(() => expect.stringContaining('good')));
  });

  it.each(Object.keys(oddities))('%s is answered once, by the first', async (tool) => {
    const all = await callOverAllFaces(tool);
    expect(all.map(({ text }) => text)).toEqual(names.map(() => expect.stringContaining('first')));
    const outcomes = await outcomesByRef(tool);
    expect(new Set(all.map(({ auditRef }) => auditRef))).toEqual(new Set(outcomes.keys()));
    expect([...outcomes.values()].flat().map((item) => item['outcome'])).toEqual(names.map(() => 'OK'));
  });

  it('leads elsewhere leads nobody', () => {
    expect(bait.visits()).toBe(0);
  });
});

describe('a process that crashes in the middle of a call', () => {
  it.each(names)('is a failure of that call over %s, and is started again', async (face) => {
    const call = faces[face] as Face;
    const { code, auditRef } = await call('crash', 'process');
    expect(code).toBe('UPSTREAM_UNAVAILABLE');
    expect((await outcomesByRef('crash', 'process')).get(auditRef)).toHaveLength(1);
    await eventually(async () => (await call('pid', 'process').catch(() => undefined))?.text !== undefined, 20_000);
  });
});

it('requests of a server reach a client in bounds, each with one outcome on record', async () => {
  const most = bounds.upstreamPeerRequestsPerCallMax;
  expect(samplings).toBeGreaterThan(0);
  expect(samplings).toBeLessThanOrEqual(most);
  const recorded = async () => (await itemsOf(gateway)).filter((item) => item['method'] === 'mcp.server.request');
  await expect.poll(async () => (await recorded()).length, { timeout: 20_000 }).toBeGreaterThanOrEqual(samplings);
  // One that was under way when the call was given up is on record, and may never have reached the client.
  expect((await recorded()).length).toBeLessThanOrEqual(most);
});

it('a stream that never rests holds up no call, and every change that it tells of does not cost a list', async () => {
  let told = 0;
  const script = mcpScript({
    era: 'session',
    calls: { good: (received, response) => sendResult(received, response, said('good')) },
    announcesToolChanges: true,
    stream: (_, response) => {
      openEvents(response);
      const next = () => {
        told++;
        return [
          event(notification('notifications/tools/list_changed')),
          event(notification('notifications/message', { level: 'info', data: 'x'.repeat(1_000) })),
          event({ jsonrpc: '2.0', id: told, result: said('to nobody') }),
          event(notification('notifications/progress', { progressToken: told, progress: told })),
        ].join('');
      };
      flood(response, next, 1);
    },
  });
  const restless = await startScripted(script.respond);
  const own = await startTestGateway({ servers: { tested: restless.url } });
  const client = new OlderClient({ name: 'patient', version: '1' });
  try {
    await client.connect(new OlderTransport(new URL(`${own.url}/mcp/tested`)));
    await eventually(async () => {
      const { content } = await client.callTool({ name: 'good', arguments: {} });
      expect(content).toEqual([{ type: 'text', text: 'good' }]);
      expect((await callTool(own, 'good')).status).toBe(200);
      return told > 200;
    }, 60_000);
    const lists = restless.methods().filter((method) => method === 'tools/list').length;
    expect(lists).toBeLessThan(told / 4);
  } finally {
    await client.close();
    await own.stop();
  }
});
