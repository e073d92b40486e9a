/** The chat tool, as its clients have always called it: sessions bound to capabilities, and four records a request. */
import { mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  dumpOf,
  itemsOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { strangeIssuer, testNowSec, tokenWith } from '../support/issuer.ts';
import { type Received, sendJson, sendResult } from '../support/mcp-scripted.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const completion = {
  messages: [{ role: 'assistant', content: 'hello' }],
  model: 'llama3.1',
  finish_reason: 'stop',
  usage: { prompt_tokens: 3, completion_tokens: 1 },
};

let connector: Upstream;
let respond: (received: Received, response: ServerResponse) => void;
let gateway: TestGateway;
let strict: TestGateway;
let second: TestGateway;
let folder: string;

beforeAll(async () => {
  connector = await startUpstream({ calls: { chat: (received, response) => respond(received, response) } });
  respond = (received, response) => sendResult(received, response, completion);
  gateway = await startTestGateway({ env: { MCP_CONNECTOR_URL: connector.url } });
  folder = await mkdtemp(join(tmpdir(), 'talos-chat-'));
  const env = { ...productionEnv, MCP_CONNECTOR_URL: connector.url, TALOS_LOG_KEY_FILE: join(folder, 'log.key') };
  const production = { env, clock: wallClock() };
  strict = await startTestGateway(production);
  second = await startTestGateway({ ...production, databaseUrl: () => strict.database.url });
});

afterAll(async () => {
  await Promise.all([gateway.stop(), second.stop()]);
  await strict.stop();
  await connector.close();
  await rm(folder, { recursive: true });
});

const body = (changes: JsonObject = {}): JsonObject => ({
  session_id: 'sess_demo_001',
  model: 'llama3.1',
  messages: [{ role: 'user', content: 'Say hello in one sentence.' }],
  ...changes,
});

const chat = (to: TestGateway, changes: JsonObject = {}, token?: string): Promise<Answer> =>
  to.send('/mcp/tools/chat', { json: body(changes), ...(token === undefined ? {} : { token }) });

const mayChat = (changes: object = {}) => tokenWith({ scope: 'tool:connector/method:chat', ...changes });

/** An identity without any authority. */
const namedBy = (sub: string) =>
  new SignJWT({ permissions: [] })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setIssuedAt(testNowSec)
    .setExpirationTime(testNowSec + 600)
    .sign(Buffer.from(productionEnv.AUTH_ADMIN_SECRET));

async function eventsOf(to: TestGateway, sessionId: string): Promise<JsonObject[]> {
  const token = tokenWith({ scope: 'tool:gateway/method:events.read' });
  const { body: page } = await to.send(`/api/events?session_id=${sessionId}`, { token });
  return (page['items'] as unknown as JsonObject[]).reverse();
}

describe('in development mode', () => {
  it('answers what the connector answers, and leaves four records', async () => {
    const answer = await chat(gateway, { capability: 'cap_test', session_id: 's-four', client_request_id: 'ui-0001' });
    expect([answer.status, answer.body]).toEqual([200, completion]);
    expect(connector.calls.at(-1)).toMatchObject({
      name: 'chat',
      args: { session_id: 's-four', temperature: 0.7, max_tokens: 512, timeout_ms: 60_000 },
      requestId: 'ui-0001',
    });
    expect(connector.calls.at(-1)?.args).not.toHaveProperty('capability');
    const items = (await itemsOf(gateway, 'session_id=s-four')).reverse();
    expect(items.map(({ meta, outcome }) => [(meta as JsonObject)['event_type'], outcome])).toEqual([
      ['CHAT_REQUEST_RECEIVED', 'OK'],
      ['CHAT_TOOL_CALL', 'OK'],
      ['CHAT_TOOL_RESULT', 'OK'],
      ['CHAT_RESPONSE_SENT', 'OK'],
    ]);
    for (const { meta } of items) {
      expect(meta).toMatchObject({ session_id: 's-four', correlation_id: 'ui-0001' });
      expect(JSON.stringify(meta)).not.toContain('Say hello');
    }
    expect(items.at(-1)).toMatchObject({ event_id: answer.headers.get('x-talos-audit-ref') });
  });

  it('remembers the session, and warns of the string that bound it', async () => {
    expect((await chat(gateway, { capability: 'cap_test', session_id: 's-kept' })).status).toBe(200);
    expect((await chat(gateway, { session_id: 's-kept' })).status).toBe(200);
    expect(gateway.logText()).toContain('bound to a string that is no capability');
  });

  it.each<[string, JsonObject]>([
    ['no capability in a new session', {}],
    ['null for a capability', { capability: null }],
    ['a string that is invalid', { capability: 'cap_invalid_or_not_authorized_for_tool_chat' }],
    ['a string that is nothing', { capability: 'please let me in' }],
  ])('refuses %s in the words that clients compare', async (what, changes) => {
    const calls = connector.calls.length;
    const answer = await chat(gateway, { session_id: `s-no-${what.length}`, ...changes });
    expect(answer.status).toBe(403);
    expect(answer.body['error']).toBe('Capability verification failed');
    expect(connector.calls).toHaveLength(calls);
    const [sent] = await itemsOf(gateway, `session_id=s-no-${what.length}&limit=1`);
    expect(sent).toMatchObject({ outcome: 'DENY', meta: { event_type: 'CHAT_RESPONSE_SENT' } });
  });

  it.each<[string, JsonObject]>([
    ['no session', { session_id: null }],
    ['no messages', { messages: [] }],
    ['a message that is too long', { messages: [{ role: 'user', content: 'x'.repeat(4_001) }] }],
    ['a role that does not exist', { messages: [{ role: 'root', content: 'x' }] }],
    ['a member of a message that nobody knows', { messages: [{ role: 'user', content: 'x', tool: 1 }] }],
    ['a temperature that is text', { temperature: 'hot' }],
    ['more tokens than allowed', { max_tokens: 5_000 }],
    ['no patience at all', { timeout_ms: 1 }],
  ])('a body with %s is not valid, and says where', async (_, changes) => {
    const answer = await chat(gateway, { capability: 'cap_test', ...changes });
    expect(answer.status).toBe(422);
    const [fault] = answer.body['detail'] as unknown as JsonObject[];
    expect(fault).toMatchObject({ loc: expect.arrayContaining(['body']), msg: expect.any(String) });
  });
});

describeVectors('the public vectors', () => {
  const bodyOf = (name: string) => vector<JsonObject>(`contracts/mcp_chat/${name}.json`);
  const say = (to: TestGateway, json: JsonObject) => to.send('/mcp/tools/chat', { json });

  it('are answered', async () => {
    const json = bodyOf('happy_path');
    const answer = await say(gateway, json);
    expect([answer.status, answer.body]).toEqual([200, completion]);
    const { capability: _, client_request_id: requestId, ...args } = json;
    expect(connector.calls.at(-1)).toEqual({ name: 'chat', args, requestId });
  });

  it('are passed on with the error of the connector', async () => {
    const json = bodyOf('ollama_unavailable');
    const error = { code: 'TALOS_CHAT_OLLAMA_UNAVAILABLE', message: 'no model' };
    const before = respond;
    respond = ({ message }, response) => sendJson(response, { id: message['id'] ?? null, error });
    try {
      const answer = await say(gateway, json);
      expect([answer.status, answer.body]).toMatchObject([500, { ...error, request_id: json['client_request_id'] }]);
    } finally {
      respond = before;
    }
  });

  it('are refused when their capability is none', async () => {
    const calls = connector.calls.length;
    const answer = await say(gateway, bodyOf('invalid_capability'));
    expect([answer.status, answer.body['error']]).toEqual([403, 'Capability verification failed']);
    expect(connector.calls).toHaveLength(calls);
  });

  it('are refused when their message is as long as the placeholder says', async () => {
    const json = bodyOf('oversize_message');
    const calls = connector.calls.length;
    const tooLong = JSON.stringify(json).replace('REPLACE_WITH_4001_PLUS_CHARS', 'x'.repeat(4_001));
    const answer = await say(gateway, JSON.parse(tooLong) as JsonObject);
    expect(answer.status).toBe(422);
    expect(answer.body['detail']).toMatchObject([{ loc: ['body', 'messages', 0, 'content'] }]);
    expect(connector.calls).toHaveLength(calls);
  });

  it.each(['happy_path', 'invalid_capability', 'ollama_unavailable', 'oversize_message'])(
    'are refused in production, where no placeholder is a capability: %s',
    async (name) => {
      const calls = connector.calls.length;
      const answer = await say(strict, bodyOf(name));
      expect([answer.status, answer.body['error']]).toEqual([403, 'Capability verification failed']);
      expect(connector.calls).toHaveLength(calls);
    },
  );
});

describe('when the connector', () => {
  const failing = async (how: typeof respond, changes: JsonObject = {}) => {
    const before = respond;
    respond = how;
    try {
      return await chat(gateway, { capability: 'cap_test', session_id: 's-failing', ...changes });
    } finally {
      respond = before;
    }
  };

  it('reports an error of its own, that is passed on with its code', async () => {
    const error = { code: 'TALOS_CHAT_OLLAMA_UNAVAILABLE', message: 'no model' };
    const answer = await failing(({ message }, response) => sendJson(response, { id: message['id'] ?? null, error }));
    expect([answer.status, answer.body]).toMatchObject([500, error]);
    const [sent] = await itemsOf(gateway, 'session_id=s-failing&limit=1');
    expect(sent).toMatchObject({ outcome: 'ERROR', meta: { event_type: 'CHAT_RESPONSE_SENT' } });
  });

  it('breaks off, that is a failure of the gateway', async () => {
    const answer = await failing((_, response) => response.destroy());
    expect([answer.status, answer.body['code']]).toEqual([500, 'GATEWAY_ERROR']);
    expect(answer.text).not.toContain(connector.url);
  });

  it('answers with the result of an MCP tool, the completion is found in it', async () => {
    const structured = await failing((received, response) =>
      sendResult(received, response, { content: [], structuredContent: completion }),
    );
    expect(structured.body).toEqual(completion);
    const text = await failing((received, response) =>
      sendResult(received, response, { content: [{ type: 'text', text: JSON.stringify(completion) }] }),
    );
    expect(text.body).toEqual(completion);
  });

  it('answers something else, that is said', async () => {
    const content = [{ type: 'text', text: 'no such model' }];
    const answer = await failing((received, response) => sendResult(received, response, { content, isError: true }));
    expect(answer.body).toMatchObject({ code: 'TALOS_CHAT_UPSTREAM_ERROR', message: 'no such model' });
  });
});

it('without a connector says so', async () => {
  const bare = await startTestGateway();
  try {
    const answer = await chat(bare, { capability: 'cap_test' });
    expect([answer.status, answer.body['code']]).toEqual([500, 'GATEWAY_ERROR']);
    expect(answer.body['message']).toContain('No connector is configured');
  } finally {
    await bare.stop();
  }
});

describe('in production', () => {
  it.each<[string, () => JsonObject]>([
    ['a string of development mode', () => ({ capability: 'cap_test' })],
    ['no capability', () => ({})],
    ['an expired capability', () => ({ capability: mayChat({ iat: 1_500_000_000, exp: 1_600_000_000 }) })],
    ['a capability of a stranger', () => ({ capability: mayChat({ iss: strangeIssuer.did }) })],
    ['a capability for another tool', () => ({ capability: tokenWith({ scope: 'tool:connector/method:other' }) })],
    ['a capability for another server', () => ({ capability: tokenWith({ scope: 'tool:weather/method:chat' }) })],
  ])('refuses %s', async (_, changes) => {
    const calls = connector.calls.length;
    const answer = await chat(strict, { session_id: 's-strict', ...changes() });
    expect([answer.status, answer.body['error']]).toEqual([403, 'Capability verification failed']);
    expect(connector.calls).toHaveLength(calls);
  });

  it('a capability binds the session of whoever shows it, on every gateway of the database', async () => {
    const token = await namedBy('alice');
    const first = await chat(strict, { session_id: 's-bound', capability: mayChat() }, token);
    expect(first.status).toBe(200);
    expect((await chat(strict, { session_id: 's-bound' }, token)).status).toBe(200);
    expect((await chat(second, { session_id: 's-bound' }, token)).status).toBe(200);
    expect((await chat(second, { session_id: 's-other' }, token)).status).toBe(403);
    const other = await namedBy('mallory');
    expect((await chat(strict, { session_id: 's-bound' }, other)).status).toBe(403);
    expect((await chat(strict, { session_id: 's-bound' })).status).toBe(403);
    expect((await eventsOf(strict, 's-bound')).length).toBeGreaterThanOrEqual(12);
  });

  it('neither the capability nor what was said reaches the database', async () => {
    const capability = mayChat();
    const secret = 'a sentence that nobody else says';
    await chat(strict, { session_id: 's-quiet', capability, messages: [{ role: 'user', content: secret }] });
    const dump = await dumpOf(strict);
    expect(dump).not.toContain(secret);
    expect(dump).not.toContain(capability);
    expect(strict.logText()).not.toContain(capability);
  });
});
