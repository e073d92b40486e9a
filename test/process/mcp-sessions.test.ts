/**
 * Two gateways as processes of their own on one database, and MCP sessions: opened at one of them, used at either, and over
 * when the one that has them is gone.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { Client as NewClient, StreamableHTTPClientTransport as NewTransport } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { productionEnv } from '../support/gateway.ts';
import { createFleet, type GatewayFleet } from '../support/gateway-fleet.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { attest } from '../support/identity.ts';
import { issuerOfSeed } from '../support/issuer.ts';
import { liveToken } from '../support/live-token.ts';
import { query } from '../support/log-fixture.ts';
import { ask, type EventStream, initialize, notification, request } from '../support/native-client.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';

const addressKey = 'a key for addresses that is long enough';
const caller = { token: liveToken({ sub: 'did:talos:caller', scope: 'tool:reference' }) };
const bearer = { authorization: `Bearer ${caller.token}` };

let fleet: GatewayFleet;
let reference: ReferenceServer;
/** It opens the sessions. */
let first: GatewayProcess;
let second: GatewayProcess;

beforeAll(async () => {
  reference = await startReferenceServer();
  fleet = await createFleet({
    ...productionEnv,
    TALOS_ADVERTISE_URL: 'http://127.0.0.1:0',
    TALOS_TRUSTED_PROXIES: '127.0.0.1',
    AUDIT_IP_HMAC_KEY: addressKey,
    MCP_SERVER_REFERENCE: reference.url,
    MCP_SERVER_OTHER: reference.url,
  });
  first = await fleet.start();
  second = await fleet.start();
}, 60_000);

afterAll(async () => {
  await fleet?.stop();
  await reference?.stop();
});

const call = (name: string, args: JsonObject = {}, id: JsonObject[string] = 7, meta?: JsonObject) =>
  request('tools/call', { name, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) }, id);

const rpcCode = (answer: EventStream) => (answer.body()['error'] as JsonObject | undefined)?.['code'];

/** Status and JSON-RPC code of an answer, all of it read. */
async function verdictOf(answering: Promise<EventStream>) {
  const answer = await answering;
  await answer.over;
  return [answer.status, rpcCode(answer)];
}

/** Meta and HTTP part of the newest records of the method. */
async function recordsOf(surfaceId: string): Promise<{ meta: JsonObject; http: JsonObject; outcome: string }[]> {
  const rows = await query(fleet.database.url, `SELECT canon FROM audit_event ORDER BY seq DESC LIMIT 50`);
  const records = rows.map(({ canon }) => JSON.parse(String(canon)));
  return records.filter((record) => record.surface_id === surfaceId);
}

describe('a session that another gateway has', { timeout: 60_000 }, () => {
  it('tells of progress on the stream of a call, which is on record with the address of its client', async () => {
    const session = { ...(await initialize(first.url, caller)), headers: { 'x-forwarded-for': '203.0.113.7' } };
    const answer = await ask(second.url, {
      ...session,
      message: call('test_tool_with_progress', {}, 'p', { progressToken: 'mine' }),
    });
    await answer.over;
    expect(answer.events.map(({ message }) => (message['params'] as JsonObject | undefined)?.['progress'])).toEqual([
      0,
      50,
      100,
      undefined,
    ]);
    const [record] = await recordsOf('mcp.tools.call');
    expect(record?.http['client_ip_hash']).toBe(createHmac('sha256', addressKey).update('203.0.113.7').digest('hex'));
    expect(record?.meta['tool_name']).toBe('test_tool_with_progress');
  });

  it('is listened to, and ended, there as here', async () => {
    const session = await initialize(first.url, caller);
    const stream = await ask(second.url, session);
    expect(stream.status).toBe(200);
    await (await ask(second.url, { ...session, message: request('tools/list') })).over;
    await (await ask(first.url, { ...session, message: call('test_trigger_tool_change') })).over;
    await stream.said('notifications/tools/list_changed');
    expect((await ask(second.url, { ...session, method: 'DELETE' })).status).toBeLessThan(300);
    await stream.over;
    expect(await verdictOf(ask(first.url, { ...session, message: request('ping') }))).toEqual([404, -32_001]);
    expect(await verdictOf(ask(second.url, { ...session, message: request('ping') }))).toEqual([404, -32_001]);
  });

  it('has its client asked, and answered, by way of either', async () => {
    const session = await initialize(first.url, caller);
    const answer = await ask(second.url, { ...session, message: call('test_sampling', { prompt: 'x' }) });
    const asked = await answer.said('sampling/createMessage');
    const result = { role: 'assistant', model: 'm', content: { type: 'text', text: 'by way of the second' } };
    const reply = { jsonrpc: '2.0', id: asked['id'] ?? null, result };
    expect((await ask(second.url, { ...session, message: reply })).status).toBe(202);
    expect(JSON.stringify(await answer.answer(7))).toContain('by way of the second');
  });

  it('ends a call that its client gives up there', async () => {
    const session = await initialize(first.url, caller);
    const answer = await ask(second.url, { ...session, message: call('test_sampling', { prompt: 'x' }, 'up') });
    await answer.said('sampling/createMessage');
    const given = notification('notifications/cancelled', { requestId: 'up' });
    expect((await ask(second.url, { ...session, message: given })).status).toBe(202);
    // Whoever gave it up hears no more of it.
    expect(await answer.over).toBe(false);
    expect(answer.events.map(({ message }) => message['id'])).not.toContain('up');
    const outcomes = async () => (await recordsOf('mcp.tools.call')).map(({ meta }) => meta['error']);
    await expect.poll(outcomes, { timeout: 20_000 }).toContain('CALL_CANCELLED');
  });

  it('goes on where a stream broke off', async () => {
    const session = await initialize(first.url, caller);
    const stream = await ask(second.url, session);
    await expect.poll(() => stream.ids.length, { timeout: 20_000 }).toBe(1);
    stream.cut();
    await (await ask(first.url, { ...session, message: request('tools/list') })).over;
    await (await ask(first.url, { ...session, message: call('test_trigger_tool_change') })).over;
    const rest = await ask(second.url, { ...session, headers: { 'last-event-id': stream.ids[0] ?? '' } });
    await rest.said('notifications/tools/list_changed');
    rest.cut();
  });

  it('is not opened to another principal, and who tries is on record once', async () => {
    const session = await initialize(first.url, caller);
    const thief = `did:talos:${randomUUID()}`;
    const token = liveToken({ sub: thief, scope: 'tool:reference' });
    expect(await verdictOf(ask(second.url, { ...session, token, message: request('ping') }))).toEqual([404, -32_001]);
    const theirs = (await recordsOf('mcp.native')).filter((record) => JSON.stringify(record).includes(thief));
    expect(theirs.map(({ outcome, meta }) => [outcome, meta['denial_detail']])).toEqual([['denied', 'session']]);
  });

  it.each<[string, { token?: string; path?: string }, number]>([
    ['without a credential', { token: '' }, 401],
    ['at another server', { path: '/mcp/other' }, 404],
    ['at the address of all servers', { path: '/mcp' }, 404],
  ])('is not reached %s', async (_, change, status) => {
    const token = liveToken({ sub: 'did:talos:both', scope: 'tool:*' });
    const session = await initialize(first.url, { token });
    for (const { url } of [first, second]) {
      const { token: other = token, ...rest } = change;
      const headers = other === '' ? {} : { authorization: `Bearer ${other}` };
      const { token: _2, ...unnamed } = session;
      expect((await verdictOf(ask(url, { ...unnamed, ...rest, headers, message: request('ping') })))[0]).toBe(status);
    }
  });

  it('takes an attested request once, wherever it comes in', async () => {
    const signer = issuerOfSeed('33'.repeat(32));
    const token = liveToken({ sub: signer.did, scope: 'tool:reference' });
    const signed = (body: JsonObject) => {
      const timestamp = Math.floor(Date.now() / 1000);
      const headers = attest(signer, { body, path: '/mcp/reference', opcode: 'mcp.native', timestamp });
      return { 'x-talos-capability': token, ...headers };
    };
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'a', version: '1' } };
    const hello = request('initialize', params);
    const opened = await first.send('/mcp/reference', { json: hello, headers: signed(hello) });
    const session = { 'mcp-session-id': opened.headers.get('mcp-session-id') ?? '' };
    const json = call('test_simple_text');
    const once = signed(json);
    const called = await second.send('/mcp/reference', { json, headers: { ...session, ...once } });
    expect([called.status, called.text]).toEqual([200, expect.stringContaining('"result"')]);
    for (const { send } of [second, first]) {
      const again = await send('/mcp/reference', { json, headers: { ...session, ...once } });
      expect([again.status, again.body['code']]).toEqual([401, 'REPLAY_DETECTED']);
    }
  });

  it('is refused at both once its capability is revoked', async () => {
    const token = liveToken({ sub: 'did:talos:revoked', scope: 'tool:reference' });
    const session = await initialize(first.url, { token });
    const stream = await ask(second.url, session);
    const revoke = { token: productionEnv.AUTH_ADMIN_SECRET, json: { token } };
    expect((await second.send('/admin/v1/capabilities/revoke', revoke)).status).toBe(200);
    await stream.over;
    for (const { url } of [first, second]) {
      const [status] = await verdictOf(ask(url, { ...session, message: request('ping') }));
      expect([401, 403, 404]).toContain(status);
    }
  });
});

/** Each request goes to another gateway than the one before. */
function turnAndTurnAbout(): typeof fetch {
  let count = 0;
  return (url, init) => {
    const at = new URL(String(url));
    const to = [first, second][count++ % 2]?.url ?? '';
    return fetch(to + at.pathname + at.search, init);
  };
}

describe('behind an address that leads to any of them', { timeout: 60_000 }, () => {
  const sampling = { capabilities: { sampling: {} } };
  const reply = async () => ({
    role: 'assistant' as const,
    model: 'm',
    content: { type: 'text' as const, text: 'sampled' },
  });
  const options = () => ({ fetch: turnAndTurnAbout(), requestInit: { headers: bearer } });

  it.each<[string, () => StreamableHTTPClientTransport | SSEClientTransport]>([
    ['over Streamable HTTP', () => new StreamableHTTPClientTransport(new URL(`${first.url}/mcp/reference`), options())],
    [
      'over the transport before that',
      () => new SSEClientTransport(new URL(`${first.url}/mcp/reference/sse`), options()),
    ],
  ])('the official client of the first generation works as with one, %s', async (_, transport) => {
    const client = new Client({ name: 'any', version: '1' }, sampling);
    client.setRequestHandler(CreateMessageRequestSchema, reply);
    await client.connect(transport() as Parameters<Client['connect']>[0]);
    for (let n = 0; n < 4; n++) expect((await client.listTools()).tools.length).toBeGreaterThan(0);
    const seen: number[] = [];
    await client.callTool({ name: 'test_tool_with_progress', arguments: {} }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    });
    expect(seen).toEqual([0, 50, 100]);
    for (let n = 0; n < 2; n++) {
      const { content } = await client.callTool({ name: 'test_sampling', arguments: { prompt: 'x' } });
      expect(JSON.stringify(content)).toContain('sampled');
    }
    await client.close();
  });

  it.each(['legacy', 'auto'] as const)('so does the one of the second, in mode %s', async (mode) => {
    const client = new NewClient({ name: 'any', version: '1' }, { versionNegotiation: { mode } });
    await client.connect(new NewTransport(new URL(`${first.url}/mcp/reference`), options()));
    for (let n = 0; n < 4; n++) {
      const { content } = await client.callTool({ name: 'test_simple_text', arguments: {} });
      expect(content).toMatchObject([{ type: 'text' }]);
    }
    await client.close();
  });
});

describe('a gateway that goes', { timeout: 90_000 }, () => {
  const rowsAt = (gateway: GatewayProcess) =>
    query(fleet.database.url, `SELECT 1 FROM mcp_session WHERE gateway_url = '${gateway.url}'`);

  /** The first gateway again, at its address. */
  async function restart(): Promise<void> {
    first = await fleet.start({ TALOS_GATEWAY_PORT: new URL(first.url).port });
  }

  beforeEach(async () => {
    if (first.child.exitCode !== null || first.child.signalCode !== null) await restart();
  });

  it('and is killed, takes its sessions along: the others say so, and their clients initialize again', async () => {
    const connected = async (opensAt: GatewayProcess) => {
      const client = new Client({ name: 'any', version: '1' });
      const transport = new StreamableHTTPClientTransport(new URL(`${opensAt.url}/mcp/reference`), {
        // In its session it comes to the other one.
        fetch: (url, init) => {
          const isOpen = new Headers(init?.headers).has('mcp-session-id');
          return fetch(`${(isOpen ? second : opensAt).url}${new URL(String(url)).pathname}`, init);
        },
        requestInit: { headers: bearer },
      });
      await client.connect(transport as Parameters<Client['connect']>[0]);
      return client;
    };
    const [session, client] = [await initialize(first.url, caller), await connected(first)];
    expect(await client.ping()).toEqual({});
    const stream = await ask(second.url, session);
    first.child.kill('SIGKILL');
    await first.ended();
    await stream.over;
    for (const asked of [{ message: request('ping') }, {}, { method: 'DELETE' } as const]) {
      expect(await verdictOf(ask(second.url, { ...session, ...asked }))).toEqual([404, -32_001]);
    }
    await expect(client.ping()).rejects.toMatchObject({ code: 404 });
    const again = await connected(second);
    expect((await again.listTools()).tools.length).toBeGreaterThan(0);
    await Promise.all([client.close(), again.close()]);
  });

  it('and comes back, knows none of them', async () => {
    const session = await initialize(first.url, caller);
    const streams = [
      await ask(second.url, session),
      await fetch(`${first.url}/mcp/reference/sse`, { headers: bearer }),
      await fetch(`${first.url}/mcp/reference/sse`, { headers: bearer }),
    ];
    first.child.kill('SIGTERM');
    expect((await first.ended()).code).toBe(0);
    for (const { status } of streams) expect(status).toBe(200);
    expect(first.logText()).not.toContain('still running');
    expect(await rowsAt(first)).toEqual([]);
    await restart();
    for (const { url } of [first, second]) {
      expect(await verdictOf(ask(url, { ...session, message: request('ping') }))).toEqual([404, -32_001]);
    }
  });

  it('and is killed and started again, neither', async () => {
    const session = await initialize(first.url, caller);
    expect(await rowsAt(first)).toHaveLength(1);
    first.child.kill('SIGKILL');
    await first.ended();
    await restart();
    expect(await rowsAt(first)).toEqual([]);
    for (const { url } of [first, second]) {
      expect(await verdictOf(ask(url, { ...session, message: request('ping') }))).toEqual([404, -32_001]);
    }
  });

  it('and has only passed things on, leaves the sessions where they are', async () => {
    const between = await fleet.start();
    const session = await initialize(first.url, caller);
    const stream = await ask(between.url, session);
    expect(stream.status).toBe(200);
    between.child.kill('SIGTERM');
    await stream.over;
    expect((await between.ended()).code).toBe(0);
    expect(between.logText()).not.toContain('still running');
    expect(await verdictOf(ask(first.url, { ...session, message: request('ping') }))).toEqual([200, undefined]);
  });

  it('or that nobody can reach, answers for its sessions alone', async () => {
    const alone = await fleet.start({ TALOS_ADVERTISE_URL: '' });
    const session = await initialize(alone.url, caller);
    expect(await verdictOf(ask(second.url, { ...session, message: request('ping') }))).toEqual([404, -32_001]);
    expect(await verdictOf(ask(alone.url, { ...session, message: request('ping') }))).toEqual([200, undefined]);
  });
});

describe('the id of a session', () => {
  it('is in no line of any of them, nor in the database', async () => {
    const session = await initialize(first.url, caller);
    await (await ask(second.url, { ...session, message: call('test_simple_text') })).over;
    const tables = ['mcp_session', 'audit_event', 'log_intent', 'stream_once', 'chat_session'];
    const rows = await Promise.all(
      tables.map((table) => query(fleet.database.url, `SELECT t::text FROM ${table} AS t`)),
    );
    const told = [
      JSON.stringify(rows),
      ...fleet.started.map(({ logText }) => logText()),
      (await second.send('/metrics')).text,
    ];
    for (const secret of [session.sessionId, Buffer.from(session.sessionId, 'base64url').toString('hex')]) {
      expect(told.join('\n').includes(secret)).toBe(false);
    }
  });
});
