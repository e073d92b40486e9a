import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import type { McpServer } from '../../src/mcp/registry.ts';
import type { UpstreamSession } from '../../src/mcp/upstream-session.ts';
import { richClient, slowPeer, type TestPeer, testPeer } from '../support/mcp-peer.ts';
import { failureOf, patience, type RegistrySettings, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Received,
  type Respond,
  type Script,
  said,
  sendError,
  sendJson,
  sendResult,
  startScripted,
} from '../support/mcp-scripted.ts';

interface Opened {
  readonly session: UpstreamSession;
  readonly peer: TestPeer;
  readonly lost: string[];
}

async function open(server: McpServer, peer = testPeer()): Promise<Opened> {
  const lost: string[] = [];
  const session = await server.openSession({
    client: richClient,
    protocolVersion: '2025-06-18',
    peer,
    onLost: (reason) => lost.push(reason),
    signal: patience(),
  });
  return { session, peer, lost };
}

const eager: RegistrySettings = { bounds: { upstreamStreamRetryMinMs: 5, upstreamStreamRetryMaxMs: 50 } };

async function scriptedServer(
  script: Omit<Script, 'era'> = {},
  settings = eager,
  more: { maxSessions?: number; callTimeoutMs?: number } = {},
) {
  const { respond, sessions } = mcpScript({ era: 'session', ...script });
  const scripted = await startScripted(respond);
  return { scripted, sessions, ...serverOf({ transport: 'http', url: scripted.url, ...more }, settings) };
}

function call(session: UpstreamSession, name: string, signal = patience()) {
  return session.callTool({ name, args: {}, requestId: 'r', signal });
}

async function expectUnsettled(work: Promise<unknown> | undefined, forMs: number): Promise<void> {
  const over = new Promise((resolve) => setTimeout(() => resolve('unsettled'), forMs));
  expect(await Promise.race([work, over])).toBe('unsettled');
}

/** A request of the server, as the event of that id. */
function question(id: string): string {
  return event({ jsonrpc: '2.0', id, method: 'roots/list', params: { name: id } }, id);
}

/** Half of an event that never came to its end, and its connection. */
function breakOff(response: ServerResponse, at: number): void {
  response.write(`id: ${at + 2}\ndata: {"jsonrpc":`, () => setImmediate(() => response.destroy()));
}

/** As servers answer that know no other way to say it. */
function forgotten(response: ServerResponse, id: JsonObject): void {
  const error = { code: -32_000, message: 'Bad Request: No valid session ID provided' };
  sendJson(response, { jsonrpc: '2.0', error, ...id }, 400);
}

function sessionIdOf({ headers }: Received): string {
  return String(headers['mcp-session-id']);
}

describe('a session of its own over HTTP', () => {
  it('is opened as the client that it is for, and used for what it asks', async () => {
    const { server, scripted } = await scriptedServer();
    const { session } = await open(server);
    expect(session.hello.serverInfo).toEqual({ name: 'scripted', version: '1' });
    expect(textOf(await call(session, 'hello'))).toBe('hello');
    session.notify('notifications/roots/list_changed', {});
    await expect.poll(() => scripted.methods(), { timeout: 20_000 }).toContain('notifications/roots/list_changed');
    const opened = scripted.received.filter(({ message }) => message['method'] === 'initialize');
    expect(opened.at(-1)?.message['params']).toEqual({ protocolVersion: '2025-06-18', ...richClient });
    const used = scripted.received.filter(({ message }) => message['method'] === 'tools/call').map(sessionIdOf);
    const told = scripted.received
      .filter(({ message }) => String(message['method']).includes('roots'))
      .map(sessionIdOf);
    expect(used).toEqual(['session-2']);
    expect(told).toEqual(['session-2']);
  });

  it('is apart from those of others, and ended alone', async () => {
    const { server, scripted, sessions } = await scriptedServer();
    const [one, two] = [await open(server), await open(server)];
    expect(sessions).toEqual(new Set(['session-1', 'session-2', 'session-3']));
    await one.session.close();
    await one.session.close();
    const deleted = scripted.received.filter(({ method }) => method === 'DELETE').map(sessionIdOf);
    expect(deleted).toEqual(['session-2']);
    expect((await failureOf(call(one.session, 'x'))).dispatched).toBe(false);
    expect(textOf(await call(two.session, 'x'))).toBe('x');
    expect([...one.lost, ...two.lost]).toEqual([]);
  });

  it('hears on its stream what belongs to no call, and is asked there', async () => {
    const streams: ServerResponse[] = [];
    const { server, scripted } = await scriptedServer({
      stream: (_, response) => {
        openEvents(response);
        streams.push(response);
      },
    });
    const { peer } = await open(server);
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(1);
    streams[0]?.write(event({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x' } }));
    streams[0]?.write(event({ jsonrpc: '2.0', id: 'q', method: 'roots/list' }));
    await expect
      .poll(() => scripted.received.map(({ message }) => message), { timeout: 20_000 })
      .toContainEqual({ jsonrpc: '2.0', id: 'q', result: { answered: 'roots/list' } });
    expect(peer.told).toEqual([['notifications/message', { data: 'x' }]]);
  });

  it.each([
    ['ended', (response: ServerResponse) => response.end()],
    ['broke off in the middle of an event', breakOff],
    ['said what is no message', (response: ServerResponse, at: number) => response.write(`id: ${at}.5\ndata: {\n\n`)],
  ])('loses nothing and doubles nothing when its stream %s', async (_, stop) => {
    const sent = ['1', '2', '3', '4', '5', '6', '7', '8', '9'];
    const answered: string[] = [];
    const { server, scripted } = await scriptedServer({
      stream: ({ headers }, response) => {
        openEvents(response);
        const from = Math.floor(Number(headers['last-event-id'] ?? 0));
        for (const id of sent.slice(from, from + 3)) response.write(question(id));
        if (from < 6) stop(response, from + 3);
      },
      methods: {
        POST: ({ message: { id, result } }, response) => {
          if (result !== undefined) answered.push(String(id));
          response.writeHead(202).end();
        },
      },
    });
    const { peer, session, lost } = await open(server);
    await expect.poll(() => answered.length, { timeout: 20_000 }).toBe(9);
    expect(peer.asked.map(({ params }) => params['name'])).toEqual(sent);
    expect(answered.toSorted()).toEqual(sent);
    expect(textOf(await call(session, 'x'))).toBe('x');
    expect(scripted.methods().filter((method) => method === 'GET')).toHaveLength(3);
    expect(lost).toEqual([]);
  });

  it('goes on with the answer to a call where its stream broke off, and again when there is nothing yet', async () => {
    const resumed: unknown[] = [];
    let id: JsonValue = null;
    const { server } = await scriptedServer({
      calls: {
        breaks: ({ message }, response) => {
          id = message['id'] ?? null;
          openEvents(response);
          response.write('id: 1\ndata:\n\n');
          breakOff(response, 1);
        },
      },
      stream: ({ headers }, response) => {
        const last = headers['last-event-id'];
        if (last === undefined) return void response.writeHead(405).end();
        openEvents(response);
        if (resumed.push(last) < 3) return void response.end();
        response.end(event({ jsonrpc: '2.0', id, result: said('resumed') }));
      },
    });
    const { session } = await open(server);
    expect(textOf(await call(session, 'breaks'))).toBe('resumed');
    expect(resumed).toEqual(['1', '1', '1']);
  });

  it('goes on with its stream where that broke off', async () => {
    let opened = 0;
    const { server, scripted } = await scriptedServer({
      stream: (_, response) => {
        openEvents(response);
        const params = { data: ++opened };
        response.write(event({ jsonrpc: '2.0', method: 'notifications/message', params }, `event-${opened}`));
        if (opened === 1) response.end();
        if (opened === 2) response.destroy();
      },
    });
    const { peer } = await open(server);
    await expect.poll(() => peer.told.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(2);
    await expect.poll(() => opened, { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
    const from = scripted.received
      .filter(({ method }) => method === 'GET')
      .map(({ headers }) => headers['last-event-id']);
    expect(from.slice(0, 2)).toEqual([undefined, 'event-1']);
  });

  it('does without a stream where the server has none', async () => {
    const { server, scripted } = await scriptedServer();
    const { session, lost } = await open(server);
    await expect.poll(() => scripted.methods(), { timeout: 20_000 }).toContain('GET');
    expect(textOf(await call(session, 'x'))).toBe('x');
    expect(scripted.methods().filter((method) => method === 'GET')).toHaveLength(1);
    expect(lost).toEqual([]);
  });

  it('is not taken for lost where the server knows no GET at all', async () => {
    const { server, scripted } = await scriptedServer({ stream: (_, response) => void response.writeHead(404).end() });
    const { session, lost } = await open(server);
    await expect.poll(() => scripted.methods(), { timeout: 20_000 }).toContain('GET');
    expect(textOf(await call(session, 'x'))).toBe('x');
    expect(scripted.methods().filter((method) => method === 'GET')).toHaveLength(1);
    expect(lost).toEqual([]);
  });

  it('finishes what is in flight when its server is replaced, and takes nothing new', async () => {
    const waiting: (() => void)[] = [];
    const { server, registry } = await scriptedServer(
      {
        calls: {
          waits: (received, response) => void waiting.push(() => sendResult(received, response, said('finished'))),
        },
      },
      { bounds: { ...eager.bounds, upstreamRetireMs: 20 } },
    );
    const [busy, idle] = [await open(server), await open(server)];
    const answered = call(busy.session, 'waits');
    await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(1);
    registry.replace([]);
    await expect.poll(() => idle.lost.length, { timeout: 20_000 }).toBe(1);
    expect(busy.lost).toEqual([]);
    expect(await failureOf(call(busy.session, 'x'))).toMatchObject({ dispatched: false, isOurs: true });
    waiting[0]?.();
    expect(textOf(await answered)).toBe('finished');
    await expect.poll(() => busy.lost.length, { timeout: 20_000 }).toBe(1);
  });

  it('is lost once when the server forgets it, and what was asked then was not carried out', async () => {
    const { server, sessions } = await scriptedServer();
    const { session, lost } = await open(server);
    sessions.clear();
    const failures = await Promise.all([1, 2, 3].map(() => failureOf(call(session, 'x'))));
    for (const failure of failures) expect(failure).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
    expect(lost).toHaveLength(1);
    await session.close();
    expect(lost).toHaveLength(1);
  });

  it.each([{}, { id: null }])('is lost when the server says so with HTTP 400 to no request: %j', async (id) => {
    const x: Respond = (_, response) => forgotten(response, id);
    const { server, scripted } = await scriptedServer({ calls: { x } });
    const { session, lost } = await open(server);
    expect(await failureOf(call(session, 'x'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
    expect(lost).toHaveLength(1);
    expect(await failureOf(call(session, 'y'))).toMatchObject({ dispatched: false });
    expect(scripted.methods().filter((method) => method === 'tools/call')).toHaveLength(1);
  });

  it('is lost when its stream is refused so, and not when it never stood', async () => {
    let opened = 0;
    const stream: Respond = (_, response) => {
      if (++opened > 1) return forgotten(response, {});
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end();
    };
    const { lost } = await open((await scriptedServer({ stream })).server);
    await expect.poll(() => lost.length, { timeout: 20_000 }).toBe(1);
    const { server } = await scriptedServer({ stream: (_, response) => forgotten(response, {}) });
    const never = await open(server);
    expect(textOf(await call(never.session, 'x'))).toBe('x');
    expect(never.lost).toEqual([]);
  });

  it('is lost without being used, too', async () => {
    let opened = 0;
    const { server, sessions } = await scriptedServer({
      stream: (_, response) => {
        opened++;
        response.writeHead(200, { 'content-type': 'text/event-stream' }).end();
      },
    });
    const { lost } = await open(server);
    await expect.poll(() => opened, { timeout: 20_000 }).toBeGreaterThan(0);
    sessions.clear();
    await expect.poll(() => lost.length, { timeout: 20_000 }).toBe(1);
  });

  it('never says that a call was done that broke off in the middle', async () => {
    const { server, scripted } = await scriptedServer({
      calls: {
        breaks: (_, response) => {
          openEvents(response);
          response.write(event({ jsonrpc: '2.0', method: 'notifications/message', params: {} }));
          setImmediate(() => response.destroy());
        },
        hangs: (_, response) => openEvents(response),
      },
    });
    const { session } = await open(server);
    expect(await failureOf(call(session, 'breaks'))).toMatchObject({ dispatched: true });
    const hanging = failureOf(call(session, 'hangs'));
    await expect.poll(() => scripted.methods().filter((method) => method === 'tools/call').length).toBe(2);
    await scripted.close();
    expect(await hanging).toMatchObject({ dispatched: true });
    // The server is another one by now: it knows nothing of the session.
    expect(await failureOf(call(session, 'x'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });

  it('asks the peer of the call, and the peer of the session where the call has none', async () => {
    const { server } = await scriptedServer({
      calls: {
        asks: (received, response) => {
          openEvents(response);
          response.write(event({ jsonrpc: '2.0', id: 1, method: 'roots/list' }));
          response.end(event({ jsonrpc: '2.0', id: received.message['id'] ?? null, result: said('x') }));
        },
      },
    });
    const { session, peer } = await open(server);
    const own = testPeer();
    await session.callTool({ name: 'asks', args: {}, requestId: 'r', signal: patience(), peer: own });
    expect([own.asked.length, peer.asked.length]).toEqual([1, 0]);
    await call(session, 'asks');
    expect([own.asked.length, peer.asked.length]).toEqual([1, 1]);
  });

  it.each([
    ['the one call in flight', 1, ['answered']],
    ['none of several calls', 2, ['UPSTREAM_TIMEOUT', 'UPSTREAM_TIMEOUT']],
  ])('a question on its stream stops the clock of %s while its client thinks', async (_, calls, outcomes) => {
    const streams: ServerResponse[] = [];
    const answers: (() => void)[] = [];
    const { server, scripted } = await scriptedServer(
      {
        stream: (_, response) => {
          openEvents(response);
          streams.push(response);
        },
        calls: {
          asks: (received, response) => {
            answers.push(() => sendResult(received, response, said('answered')));
            if (answers.length === calls) streams.at(-1)?.write(question('q'));
          },
        },
      },
      eager,
      { callTimeoutMs: 1_500 },
    );
    const thinking = slowPeer();
    const { session } = await open(server, thinking.peer);
    const ended = Array.from({ length: calls }, () =>
      call(session, 'asks').then(textOf, (error: { code: string }) => error.code),
    );
    await expect.poll(() => thinking.peer.asked.length, { timeout: 20_000 }).toBe(1);
    if (calls === 1) await expectUnsettled(ended[0], 2_500);
    else await Promise.all(ended);
    thinking.answer();
    await expect.poll(() => scripted.received.map(({ message }) => message['id']), { timeout: 20_000 }).toContain('q');
    for (const respond of answers) respond();
    expect(await Promise.all(ended)).toEqual(outcomes);
  });

  it('a question on its stream outlives the call that was in flight, which may have nothing to do with it', async () => {
    const { server, scripted } = await scriptedServer({
      stream: (_, response) => {
        openEvents(response);
        stream = response;
      },
      calls: {
        waits: (received, response) => {
          stream?.write(question('q'));
          respond = () => sendResult(received, response, said('answered'));
        },
      },
    });
    let stream: ServerResponse | undefined;
    let respond: () => void = () => undefined;
    const thinking = slowPeer();
    const { session } = await open(server, thinking.peer);
    const answered = call(session, 'waits');
    await expect.poll(() => thinking.peer.asked.length, { timeout: 20_000 }).toBe(1);
    respond();
    await answered;
    expect(thinking.peer.asked[0]?.signal.aborted).toBe(false);
    thinking.answer();
    await expect
      .poll(() => scripted.received.map(({ message }) => message), { timeout: 20_000 })
      .toContainEqual({ jsonrpc: '2.0', id: 'q', result: { answered: 'late' } });
  });

  it('a question on its stream stops a clock so often and no more', async () => {
    const { server, scripted } = await scriptedServer(
      {
        stream: (_, response) => {
          openEvents(response);
          stream = response;
        },
        calls: { asks: () => [1, 2, 3, 4].map((id) => stream?.write(question(`q${id}`))) && undefined },
      },
      { bounds: { ...eager.bounds, upstreamPeerRequestsPerCallMax: 3 } },
      { callTimeoutMs: 1_500 },
    );
    let stream: ServerResponse | undefined;
    const { session, peer } = await open(server);
    expect((await failureOf(call(session, 'asks'))).code).toBe('UPSTREAM_TIMEOUT');
    expect(peer.asked).toHaveLength(3);
    const replies = () => scripted.received.filter(({ message }) => message['error'] !== undefined);
    await expect.poll(() => replies().map(({ message }) => message['id']), { timeout: 20_000 }).toEqual(['q4']);
  });

  it.each([
    ['is not answered', () => undefined],
    ['breaks off', (_: Received, response: ServerResponse) => void response.destroy()],
  ])('is ended at the server when its confirmation %s, and nobody waits for that', async (_, confirm) => {
    const script = mcpScript({
      era: 'session',
      methods: { 'notifications/initialized': confirm, DELETE: () => undefined },
    });
    const scripted = await startScripted(script.respond);
    const { server } = serverOf(
      { transport: 'http', url: scripted.url },
      { bounds: { upstreamListTimeoutMs: 1_500, upstreamGoodbyeTimeoutMs: 60_000 } },
    );
    expect(await failureOf(open(server))).toMatchObject({ dispatched: false });
    await expect.poll(() => scripted.methods(), { timeout: 20_000 }).toContain('DELETE');
    const [ended] = scripted.received.filter(({ method }) => method === 'DELETE');
    expect(ended && sessionIdOf(ended)).toBe('session-1');
  });

  it('is not in the way of calls, however many wait for their clients', async () => {
    const { server } = await scriptedServer(
      {
        stream: (_, response) => openEvents(response),
        calls: {
          asks: (received, response) => {
            openEvents(response);
            response.write(event({ jsonrpc: '2.0', id: 1, method: 'elicitation/create' }));
            waiting.push(() =>
              response.end(event({ jsonrpc: '2.0', id: received.message['id'] ?? null, result: said('x') })),
            );
          },
        },
      },
      { bounds: { ...eager.bounds, upstreamConnectionsMax: 2 } },
    );
    const waiting: (() => void)[] = [];
    const clients = await Promise.all([1, 2, 3, 4].map(() => open(server, slow.peer)));
    const answers = clients.slice(0, 2).map(({ session }) => call(session, 'asks'));
    await expect.poll(() => slow.peer.asked.length, { timeout: 20_000 }).toBe(2);
    // Both connections for calls are taken, and the replies still find their way.
    slow.answer();
    slow.answer();
    for (const respond of waiting) respond();
    expect((await Promise.all(answers)).map(textOf)).toEqual(['x', 'x']);
  });
  const slow = slowPeer();

  it('takes no more requests than it can reply to', async () => {
    let [asked, unacknowledged] = [0, 0];
    const { server } = await scriptedServer(
      {
        stream: (_, response) => {
          openEvents(response);
          const timer = setInterval(() => {
            response.write(event({ jsonrpc: '2.0', id: ++asked, method: 'roots/list' }));
            if (asked === 50) clearInterval(timer);
          }, 2);
        },
        // No reply is ever acknowledged.
        methods: {
          POST: ({ message }, response) => void (message['result'] ? unacknowledged++ : response.writeHead(202).end()),
        },
      },
      { bounds: { ...eager.bounds, upstreamPeerRequestsMax: 4 } },
    );
    const { peer, session } = await open(server);
    await expect.poll(() => [asked, unacknowledged], { timeout: 20_000 }).toEqual([50, 4]);
    expect(textOf(await call(session, 'x'))).toBe('x');
    expect([unacknowledged, peer.asked.length]).toEqual([4, 4]);
  });

  it('does not take a connection for each word that a server wants to hear', async () => {
    let [waiting, most] = [0, 0];
    const { server } = await scriptedServer(
      {
        stream: (_, response) => {
          openEvents(response);
          for (let id = 1; id <= 50; id++) response.write(event({ jsonrpc: '2.0', id, method: 'ping' }));
        },
        methods: {
          POST: (_, response) => {
            most = Math.max(most, ++waiting);
            response.on('close', () => waiting--);
          },
        },
      },
      { bounds: { ...eager.bounds, upstreamGoodbyesInFlightMax: 2, upstreamGoodbyeTimeoutMs: 200 } },
    );
    await Promise.all([open(server), open(server), open(server)]);
    await expect.poll(() => most, { timeout: 20_000 }).toBe(2);
    await expect.poll(() => waiting, { timeout: 20_000 }).toBe(0);
    expect(most).toBe(2);
  });

  it('asks its client so often and no more, where it asks on behalf of no request', async () => {
    const { server, scripted } = await scriptedServer(
      {
        stream: (_, response) => {
          openEvents(response);
          for (let id = 1; id <= 8; id++) response.write(event({ jsonrpc: '2.0', id, method: 'roots/list' }));
        },
      },
      { bounds: { ...eager.bounds, upstreamPeerRequestsPerMinuteMax: 5 } },
    );
    const { peer } = await open(server);
    const replies = () => scripted.received.filter(({ message }) => message['result'] ?? message['error']);
    await expect.poll(() => replies().length, { timeout: 20_000 }).toBe(8);
    expect(peer.asked).toHaveLength(5);
    expect(replies().filter(({ message }) => message['error'] !== undefined)).toHaveLength(3);
  });

  it('is refused where the server has as many as it may have', async () => {
    const { server } = await scriptedServer({}, eager, { maxSessions: 2 });
    const [first] = await Promise.all([open(server), open(server)]);
    expect(await failureOf(open(server))).toMatchObject({ code: 'UPSTREAM_BUSY', dispatched: false });
    await first.session.close();
    await open(server);
    expect((await failureOf(open(server))).code).toBe('UPSTREAM_BUSY');
  });

  it('is for many clients, and never all of them for one', async () => {
    const { server } = await scriptedServer({}, eager, { maxSessions: 4 });
    const openAs = (owner: string) =>
      server.openSession({
        owner,
        client: richClient,
        protocolVersion: '2025-06-18',
        peer: testPeer(),
        onLost: () => undefined,
        signal: patience(),
      });
    const [first] = [await openAs('one'), await openAs('one'), await openAs('one')];
    expect((await failureOf(openAs('one'))).code).toBe('UPSTREAM_BUSY');
    await openAs('another');
    expect((await failureOf(openAs('a third'))).code).toBe('UPSTREAM_BUSY');
    await first.close();
    await openAs('a third');
  });

  it.each([500, 401, 403, 429])('is not taken for impossible when the server answers HTTP %i', async (status) => {
    let isFailing = false;
    const script = mcpScript({ era: 'session' });
    const scripted = await startScripted((received, response) => {
      if (isFailing) return void response.writeHead(status).end();
      return script.respond(received, response);
    });
    const { server } = serverOf({ transport: 'http', url: scripted.url }, eager);
    await server.listTools(patience());
    isFailing = true;
    expect(await failureOf(open(server))).toMatchObject({ dispatched: false });
    isFailing = false;
    const { session } = await open(server);
    expect(textOf(await call(session, 'x'))).toBe('x');
  });

  it('ends when the server is closed here, and says so', async () => {
    const { server, scripted } = await scriptedServer();
    const { session, lost } = await open(server);
    expect(server.isInUse).toBe(true);
    await server.close();
    expect(lost).toHaveLength(1);
    expect(server.isInUse).toBe(false);
    expect(
      scripted.received
        .filter(({ method }) => method === 'DELETE')
        .map(sessionIdOf)
        .sort(),
    ).toEqual(['session-1', 'session-2']);
    expect((await failureOf(call(session, 'x'))).dispatched).toBe(false);
    expect((await failureOf(open(server))).dispatched).toBe(false);
  });

  it('doubts the list of tools when it hears that it changed', async () => {
    const streams: ServerResponse[] = [];
    const { server, scripted } = await scriptedServer({
      stream: (_, response) => {
        openEvents(response);
        streams.push(response);
      },
    });
    await server.listTools(patience());
    const { peer } = await open(server);
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(1);
    streams[0]?.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    await expect.poll(() => peer.told, { timeout: 20_000 }).toEqual([['notifications/tools/list_changed', {}]]);
    await server.listTools(patience());
    expect(scripted.methods().filter((method) => method === 'tools/list')).toHaveLength(2);
  });
});

describe('who waits for changed tools', () => {
  it('hears of them on the stream of all, which stays open for that', async () => {
    const streams: ServerResponse[] = [];
    const { server } = await scriptedServer({
      announcesToolChanges: true,
      stream: (_, response) => {
        openEvents(response);
        streams.push(response);
      },
    });
    let changes = 0;
    const leave = server.onListsChanged(() => changes++);
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(1);
    streams[0]?.destroy();
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(2);
    streams[1]?.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    await expect.poll(() => changes, { timeout: 20_000 }).toBe(1);
    leave();
    streams[1]?.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    streams[1]?.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    await server.listTools(patience());
    expect(changes).toBe(1);
  });

  it('hears of them in time, and not as often as a server says so', async () => {
    const streams: ServerResponse[] = [];
    const { server } = await scriptedServer(
      {
        announcesToolChanges: true,
        stream: (_, response) => {
          openEvents(response);
          streams.push(response);
        },
      },
      { bounds: { ...eager.bounds, upstreamChangesRestMs: 300 } },
    );
    let heard = 0;
    server.onListsChanged(() => heard++);
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(1);
    const change = event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    streams[0]?.write(change.repeat(1_000));
    await expect.poll(() => heard, { timeout: 20_000 }).toBeGreaterThanOrEqual(2);
    expect(heard).toBeLessThan(50);
    const before = heard;
    streams[0]?.write(change);
    await expect.poll(() => heard, { timeout: 20_000 }).toBeGreaterThan(before);
  });

  it('hears of them again when the server lost the session meanwhile', async () => {
    const streams: ServerResponse[] = [];
    const { server, sessions } = await scriptedServer({
      announcesToolChanges: true,
      stream: (_, response) => {
        openEvents(response);
        streams.push(response);
      },
    });
    let changes = 0;
    server.onListsChanged(() => changes++);
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(1);
    sessions.clear();
    streams[0]?.destroy();
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(2);
    streams[1]?.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    await expect.poll(() => changes, { timeout: 20_000 }).toBe(1);
  });

  it('may listen as clients without sessions do, to what the server announces', async () => {
    const streams: ServerResponse[] = [];
    const { server } = await scriptedServer({
      announcesToolChanges: true,
      stream: (_, response) => {
        openEvents(response);
        streams.push(response);
      },
    });
    const heard: (readonly [string, JsonObject])[] = [];
    const leaving = new AbortController();
    const { acknowledged } = await server.listen({
      filter: { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['a:b'] },
      onNotification: (method, params) => heard.push([method, params]),
      signal: leaving.signal,
    });
    expect(acknowledged).toEqual({ toolsListChanged: true });
    await expect.poll(() => streams.length, { timeout: 20_000 }).toBe(1);
    streams[0]?.write(event({ jsonrpc: '2.0', method: 'notifications/prompts/list_changed' }));
    streams[0]?.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    await expect.poll(() => heard, { timeout: 20_000 }).toEqual([['notifications/tools/list_changed', {}]]);
    expect(server.isInUse).toBe(true);
    leaving.abort();
    expect(server.isInUse).toBe(false);
  });
});

describe('a server that opens no session', () => {
  it.each([
    ['refuses', (received: Received, response: ServerResponse) => sendError(received, response, -32_601, 'no', 400)],
    [
      'gives one without an id',
      (received: Received, response: ServerResponse) =>
        sendResult(received, response, { protocolVersion: '2025-06-18', capabilities: {} }),
    ],
  ])('and %s serves the client by the shared connection', async (_, initialize) => {
    const scripted = await startScripted((received, response) => {
      const { method, id } = received.message;
      if (method === 'initialize') return initialize(received, response);
      if (id === undefined) return void response.writeHead(202).end();
      if (method === 'server/discover') {
        return sendResult(received, response, { supportedVersions: ['2026-07-28'], capabilities: { tools: {} } });
      }
      return sendResult(received, response, method === 'tools/list' ? { tools: [] } : said('shared'));
    });
    const { server } = serverOf({ transport: 'http', url: scripted.url });
    const { session } = await open(server);
    expect(textOf(await call(session, 'x'))).toBe('shared');
    expect(scripted.received.at(-1)?.headers['mcp-protocol-version']).toBe('2026-07-28');
    await session.close();
  });
});
