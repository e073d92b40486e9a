/** The log as server-sent events, and tickets for browsers, which cannot send headers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { dumpOf, productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { liveToken } from '../support/live-token.ts';
import {
  connect,
  initMessage,
  leapingClock,
  leapToHeartbeat,
  openSse,
  report,
  type SseClient,
} from '../support/stream.ts';

const wait = { timeout: 20_000 };
const clock = leapingClock();
let development: TestGateway;
let production: TestGateway;

beforeAll(async () => {
  [development, production] = await Promise.all([
    startTestGateway({ clock }),
    startTestGateway({ env: productionEnv, servers: { tested: 'http://127.0.0.1:9/' } }),
  ]);
});

afterAll(async () => {
  await Promise.all([development.stop(), production.stop()]);
});

const actions = (client: SseClient) =>
  client
    .items()
    .map((item) => (item['metadata'] as JsonObject)['action'])
    .filter((action) => action !== undefined);
const reader = () => liveToken({ scope: 'tool:gateway/method:events.read' });

describe('a stream', () => {
  it.each(['/events', '/api/events/sse'])(
    'of %s begins with meta, and goes on with events under their cursors',
    async (path) => {
      const client = await openSse(development, path);
      expect(client.status).toBe(200);
      expect(client.headers).toMatchObject({
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache, no-transform',
        'x-accel-buffering': 'no',
      });
      const [cursor] = await report(development, [{ action: 'one', metadata: { text: 'a\nb\r\n\r\nc' } }]);
      await expect.poll(() => actions(client), wait).toEqual(['one']);
      const [meta] = client.frames;
      expect(meta?.event).toBe('meta');
      expect(JSON.parse(meta?.data ?? '')).toMatchObject({
        status: 'connected',
        version: '1',
        session_id: expect.any(String),
      });
      expect(client.of('audit_event')[0]?.id).toBe(cursor);
      client.close();
    },
  );

  it('goes on exactly after the last event id, which wins over the query', async () => {
    const cursors = await report(development, [{ action: 'r1' }, { action: 'r2' }, { action: 'r3' }]);
    const byHeader = await openSse(development, `/events?after_cursor=${cursors[0]}`, {
      'last-event-id': cursors[1] ?? '',
    });
    const byQuery = await openSse(development, `/events?after_cursor=${cursors[0]}`);
    await expect.poll(() => actions(byQuery), wait).toEqual(['r2', 'r3']);
    await expect.poll(() => actions(byHeader), wait).toEqual(['r3']);
    expect(byHeader.headers['talos-last-event-id']).toBe(cursors[1]);
    byHeader.close();
    byQuery.close();
  });

  it('moves over what its filter leaves out by frames that only carry an id', async () => {
    const client = await openSse(development, '/events?tool=none');
    const [cursor] = await report(development, [{ action: 'unseen' }]);
    await expect
      .poll(async () => {
        await leapToHeartbeat(clock, () => client.frames.filter(({ comment }) => comment === 'heartbeat').length);
        return client.frames.at(-1);
      }, wait)
      .toEqual({ event: undefined, data: undefined, retry: undefined, id: cursor, comment: 'heartbeat' });
    client.close();
  });

  it('gives what the filter asks for', async () => {
    const client = await openSse(development, '/events?agent_id=only&outcome=OK');
    await report(development, [{ action: 'x' }, { action: 'y', actor: 'only' }, { action: 'z' }]);
    await expect.poll(() => actions(client), wait).toEqual(['y']);
    client.close();
  });

  it.each([
    ['/events?after_cursor=nonsense', 400],
    ['/events?outcome=maybe', 422],
    ['/events?ticket=nonsense', 401],
  ])('is not begun for %s', async (path, status) => {
    expect((await development.send(path)).status).toBe(status);
  });

  it('answers no HEAD and no POST', async () => {
    expect((await development.send('/events', { method: 'HEAD' })).status).toBe(405);
    expect((await development.send('/events', { method: 'POST' })).status).toBe(405);
  });
});

describe('in production', () => {
  it('is for those who may read', async () => {
    expect((await production.send('/events')).status).toBe(403);
    expect((await production.send('/events', { capability: liveToken({ scope: 'tool:weather' }) })).status).toBe(403);
    const client = await openSse(production, '/events', { 'x-talos-capability': reader() });
    expect(client.status).toBe(200);
    client.close();
  });

  it('shows the events of the own team', async () => {
    const team = (teamId: string, method: string) =>
      liveToken({ scope: `tool:gateway/method:${method}`, constraints: { team_id: teamId } });
    const client = await openSse(production, '/events', { 'x-talos-capability': team('blue', 'events.read') });
    await report(production, [{ action: 'red' }], team('red', 'events.write'));
    await report(production, [{ action: 'blue' }], team('blue', 'events.write'));
    await expect.poll(() => actions(client), wait).toEqual(['blue']);
    client.close();
  });

  it('is over when the capability is', async () => {
    const exp = Math.floor(Date.now() / 1000) - 57;
    const client = await openSse(production, '/events', {
      'x-talos-capability': liveToken({ scope: 'tool:gateway', exp }),
    });
    await client.ended;
    expect(JSON.parse(client.of('error')[0]?.data ?? '')).toMatchObject({ code: 'CAPABILITY_EXPIRED' });
  });

  it('lists sessions for those who may read', async () => {
    expect((await production.send('/sessions')).status).toBe(403);
    expect((await production.send('/sessions', { capability: reader() })).status).toBe(200);
    expect((await production.send('/peers')).body).toEqual({ peers: [] });
  });
});

describe('a ticket', () => {
  const ticketFor = async (capability: string) =>
    (await production.send('/api/events/ticket', { method: 'POST', capability })).body as {
      ticket: string;
      expires_in: number;
    };

  it('opens one stream of server-sent events', async () => {
    const { ticket, expires_in } = await ticketFor(reader());
    expect(expires_in).toBe(30);
    const client = await openSse(production, `/events?ticket=${ticket}`);
    expect(client.status).toBe(200);
    client.close();
    expect((await production.send(`/events?ticket=${ticket}`)).status).toBe(401);
  });

  it('opens one WebSocket', async () => {
    const { ticket } = await ticketFor(reader());
    const client = await connect(production, { query: `?ticket=${ticket}` });
    client.send(initMessage());
    await client.next('init_ack');
    await client.close();
    await expect(connect(production, { query: `?ticket=${ticket}` })).rejects.toThrow('401');
  });

  it('is used once, however many try at the same time', async () => {
    const { ticket } = await ticketFor(reader());
    const clients = await Promise.all(Array.from({ length: 8 }, () => openSse(production, `/events?ticket=${ticket}`)));
    expect(clients.map(({ status }) => status).sort()).toEqual([200, ...Array.from({ length: 7 }, () => 401)]);
    for (const client of clients) client.close();
  });

  it('is given only to those who could open the stream, and is on record', async () => {
    expect((await production.send('/api/events/ticket', { method: 'POST' })).status).toBe(403);
    const capability = liveToken({ scope: 'tool:weather' });
    expect((await production.send('/api/events/ticket', { method: 'POST', capability })).status).toBe(403);
    const answer = await production.send('/api/events/ticket', { method: 'POST', capability: reader() });
    expect(answer.headers.get('x-talos-audit-ref')).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  it('is worth no more than the capability at the moment of its use', async () => {
    const exp = Math.floor(Date.now() / 1000) - 58;
    const { ticket } = await ticketFor(liveToken({ scope: 'tool:gateway', exp }));
    await expect
      .poll(async () => {
        const { body } = await production.send('/sessions', { capability: liveToken({ scope: 'tool:gateway', exp }) });
        return body['code'];
      }, wait)
      .toBe('TALOS_INVALID_CAPABILITY');
    expect((await production.send(`/events?ticket=${ticket}`)).status).toBe(403);
  });

  it('leaves neither itself nor the credentials in the database', async () => {
    const capability = reader();
    const { ticket } = await ticketFor(capability);
    const dump = await dumpOf(production);
    expect(dump).toContain('stream_once');
    for (const text of [ticket, capability]) {
      expect(dump).not.toContain(text);
      expect(dump).not.toContain(Buffer.from(text).toString('hex'));
    }
    expect(production.logText()).not.toContain(ticket);
  });
});
