/** Sessions of MCP clients with a tool server over stdio that does what no good server does. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { itemsOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { ask, everything, initialize, notification, request } from '../support/native-client.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startTestGateway({
    file: `servers:
  process: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(scriptedStdioProgram)}] }
`,
  });
});

afterAll(async () => {
  await gateway.stop();
});

const path = '/mcp/process';
const call = (name: string, args: JsonObject = {}, id: JsonValue = 1, meta?: JsonObject) =>
  request('tools/call', { name, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) }, id);
const reply = (id: JsonValue | undefined, result: JsonObject): JsonObject => ({
  jsonrpc: '2.0',
  id: id ?? null,
  result,
});
const errorOf = (message: JsonObject) => message['error'] as JsonObject;
const metaOf = (item: JsonObject | undefined) => item?.['meta'] as JsonObject | undefined;

async function askedRecords(): Promise<JsonObject[]> {
  return (await itemsOf(gateway)).filter(({ method }) => method === 'mcp.server.request');
}

describe('a server that asks its client', () => {
  it('gets the answer of that client, whose word is passed on as it is', async () => {
    const session = await initialize(gateway.url, { path });
    const answer = await ask(gateway.url, { ...session, message: call('asks the client', { message: '?' }) });
    const asked = await answer.said('elicitation/create');
    expect(asked['id']).toBe(1);
    const said = { action: 'accept', content: { half: 0.5, text: 'ö' } };
    await ask(gateway.url, { ...session, message: reply(asked['id'], said) });
    const { result } = await answer.answer(1);
    const [{ text }] = (result as { content: [{ text: string }] }).content;
    expect(JSON.parse(text)).toEqual(said);
  });

  it('is asked through the stream of the session when nobody can tell which call it belongs to', async () => {
    const session = await initialize(gateway.url, { path });
    const stream = await ask(gateway.url, session);
    const hanging = ask(gateway.url, { ...session, message: call('hang', {}, 'hangs') });
    const answer = ask(gateway.url, { ...session, message: call('asks the client', { message: '?' }) });
    const asked = await stream.said('elicitation/create');
    await ask(gateway.url, { ...session, message: reply(asked['id'], { action: 'decline' }) });
    expect(JSON.stringify(await (await answer).answer(1))).toContain('decline');
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 'hangs' }) });
    await hanging;
    stream.cut();
  });

  it('is told that its client listens to nothing', async () => {
    const session = await initialize(gateway.url, { path });
    const answer = await ask(gateway.url, {
      ...session,
      headers: { accept: 'application/json' },
      message: call('asks the client', { message: '?' }),
    });
    expect(JSON.stringify(await answer.answer(1))).toContain('listens to no stream');
    expect(metaOf((await askedRecords())[0])).toMatchObject({ error: 'CLIENT_UNANSWERED' });
  });

  it('is told what its client does not offer, without a record for it', async () => {
    const before = (await askedRecords()).length;
    const session = await initialize(gateway.url, { path, capabilities: { sampling: {} } });
    const answer = await ask(gateway.url, { ...session, message: call('asks the client', { message: '?' }) });
    expect(JSON.stringify(await answer.answer(1))).toContain('does not offer');
    expect((await askedRecords()).length).toBe(before);
  });

  it('takes its question back, and a client that was asked hears of that', async () => {
    const session = await initialize(gateway.url, { path });
    const before = (await askedRecords()).length;
    const answer = ask(gateway.url, { ...session, message: call('takes it back', {}, 'back') });
    await expect.poll(async () => (await askedRecords()).length, { timeout: 20_000 }).toBe(before + 1);
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 'back' }) });
    const { events, over } = await answer;
    await over;
    const said = (method: string) => events.filter(({ message }) => message['method'] === method);
    expect(said('notifications/cancelled').length).toBe(said('elicitation/create').length);
    expect((await ask(gateway.url, { ...session, message: reply(1, { action: 'decline' }) })).status).toBe(400);
  });

  it('knows the client, less what does not pass through here', async () => {
    const capabilities = { ...everything, experimental: { x: {} }, tasks: {} };
    const session = await initialize(gateway.url, { path, capabilities });
    const answer = await ask(gateway.url, { ...session, message: call('hello') });
    const { result } = await answer.answer(1);
    const [{ text }] = (result as { content: [{ text: string }] }).content;
    expect(JSON.parse(text)).toMatchObject({ clientInfo: { name: 'by hand' }, capabilities: everything });
    expect(text).not.toContain('experimental');
    expect(text).not.toContain('tasks');
  });
});

describe('a server whose process ends', () => {
  it('ends the session, because what it knew of the client is gone; the call says what happened to it', async () => {
    const session = await initialize(gateway.url, { path });
    const stream = await ask(gateway.url, session);
    const crashed = await ask(gateway.url, { ...session, message: call('crash') });
    expect(errorOf(await crashed.answer(1))).toMatchObject({
      data: { code: 'UPSTREAM_UNAVAILABLE', retryable: false },
    });
    expect(await stream.over).toBe(false);
    const later = await ask(gateway.url, { ...session, message: call('echo', { text: 'x' }) });
    expect(later.status).toBe(404);
    const closings = async () => (await itemsOf(gateway)).filter(({ method }) => method === 'mcp.session.close');
    await expect
      .poll(async () => metaOf((await closings())[0])?.['session_ended_by'], { timeout: 20_000 })
      .toBe('server_lost');
  });

  it('takes nothing from other clients, and a new session has a new process', async () => {
    const [one, two] = [await initialize(gateway.url, { path }), await initialize(gateway.url, { path })];
    const pidOf = async (session: typeof one) => {
      const { result } = await (await ask(gateway.url, { ...session, message: call('pid') })).answer(1);
      return JSON.stringify(result);
    };
    const before = await pidOf(two);
    await (await ask(gateway.url, { ...one, message: call('crash') })).over;
    expect((await ask(gateway.url, { ...one, message: request('ping') })).status).toBe(404);
    expect(await pidOf(two)).toContain(before.match(/\d{2,}/)?.[0]);
    const three = await initialize(gateway.url, { path });
    expect(await pidOf(three)).not.toBe(before);
  });
});

describe('an answer that is long in coming', () => {
  it('says where it can be had, before there is anything to say', async () => {
    const session = await initialize(gateway.url, { path });
    const message = call('later', { delayMs: 1_500, text: 'at last' }, 'late');
    const answer = await ask(gateway.url, { ...session, message });
    await expect.poll(() => answer.ids.length, { timeout: 20_000 }).toBe(1);
    expect(answer.events).toEqual([]);
    answer.cut();
    const resumed = await ask(gateway.url, { ...session, headers: { 'last-event-id': answer.ids[0] ?? '' } });
    expect(JSON.stringify(await resumed.answer('late'))).toContain('at last');
    expect(await resumed.over).toBe(false);
  });

  it('is one body for clients that know of no such events', async () => {
    const session = await initialize(gateway.url, { path, version: '2025-06-18' });
    const message = call('later', { delayMs: 1_000, text: 'at last' }, 'late');
    const answer = await ask(gateway.url, { ...session, message });
    expect(answer.headers.get('content-type')).toContain('application/json');
    expect(JSON.stringify(await answer.answer('late'))).toContain('at last');
  });
});

it('progress comes under the token that its client named', async () => {
  const session = await initialize(gateway.url, { path });
  const answer = await ask(gateway.url, { ...session, message: call('progresses', {}, 1, { progressToken: 'mine' }) });
  await answer.over;
  expect(answer.events[0]?.message).toMatchObject({ params: { progressToken: 'mine', progress: 1 } });
  expect(JSON.stringify(answer.events[1]?.message)).not.toContain('mine');
});
