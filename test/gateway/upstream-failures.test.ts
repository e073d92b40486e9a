/** Tool servers that fail, each in its own way: the documented answer, the record, and nothing of why or where. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ErrorCode, errorTable } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  callTool,
  eventually,
  outcomesOf,
  recordOf,
  startTestGateway,
  type TestGateway,
} from '../support/gateway.ts';
import { type Received, said, sendJson, sendResult } from '../support/mcp-scripted.ts';
import { echo, gate, startUpstream, type Upstream } from '../support/upstream.ts';

const secretText = 'stack-trace-of-the-tool-server';
const held = gate();

function raw(text: string, type = 'application/json') {
  return (_: Received, response: ServerResponse) => void response.writeHead(200, { 'content-type': type }).end(text);
}

let upstream: Upstream;
let other: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  other = await startUpstream({ calls: { echo } });
  upstream = await startUpstream({
    calls: {
      echo,
      held: held.respond,
      hangs: () => undefined,
      'hangs in the middle': (_, response) =>
        void response.writeHead(200, { 'content-type': 'application/json' }).write('{"jsonrpc":"2.0",'),
      'is no JSON': raw(`<html>${secretText}</html>`, 'text/html'),
      'is cut off': raw('{"jsonrpc":"2.0","id":1,"result":{"content"'),
      'is empty': raw(''),
      'is a list': raw('[]'),
      'answers another id': (_, response) =>
        sendJson(response, { jsonrpc: '2.0', id: 424_242, result: said(secretText) }),
      'says nothing': (received, response) =>
        sendJson(response, { jsonrpc: '2.0', id: received.message['id'] ?? null }),
      'has a text as result': (received, response) =>
        sendJson(response, { jsonrpc: '2.0', id: received.message['id'] ?? null, result: secretText }),
      'is a server error': (_, response) =>
        void response.writeHead(500, { 'content-type': 'text/plain' }).end(secretText),
      redirects: (_, response) => void response.writeHead(302, { location: other.url }).end(),
      'closes the connection': (_, response) => void response.destroy(),
      'is too much': (received, response) => sendResult(received, response, said('x'.repeat(10 * 1024 * 1024 + 1))),
      'is just enough': (received, response) =>
        sendResult(received, response, said('x'.repeat(10 * 1024 * 1024 - 200))),
    },
  });
  gateway = await startTestGateway({
    file: `servers:
  tested: { url: ${upstream.url}, call_timeout: 0.3 }
  patient: { url: ${upstream.url}, call_timeout: 20 }
  other: { url: ${other.url} }
  nobody: { url: http://127.0.0.1:9/secret-path }
`,
  });
});

afterAll(async () => {
  held.open();
  await gateway.stop();
  await Promise.all([upstream.close(), other.close()]);
});

/** `retryable` unless it may have done something: then nobody may be told to do it again. */
async function expectFailure(answer: Answer, code: ErrorCode, retryable: boolean) {
  const { status, message } = errorTable[code];
  expect({ status: answer.status, ...answer.body }).toEqual({
    status,
    detail: message,
    code,
    message,
    retryable,
    request_id: 'failing',
    audit_ref: answer.headers.get('x-talos-audit-ref'),
  });
  const { record, meta, item } = await recordOf(gateway, answer);
  expect(record).toMatchObject({ outcome: 'failure', http: { status_code: status }, request_id: 'failing' });
  expect(meta).toMatchObject({ error: code, request_hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(meta).not.toHaveProperty('response_hash');
  expect(item['outcome']).toBe('ERROR');
  expect(answer.text + JSON.stringify(record)).not.toMatch(
    new RegExp(`${secretText}|127\\.0\\.0\\.1|secret-path|ECONN`),
  );
}

const failing = (tool: string, server = 'tested') => callTool(gateway, tool, {}, { server, requestId: 'failing' });

describe('a tool server', () => {
  it.each<[string, ErrorCode]>([
    ['hangs', 'UPSTREAM_TIMEOUT'],
    ['hangs in the middle', 'UPSTREAM_TIMEOUT'],
    ['is no JSON', 'UPSTREAM_INVALID_RESPONSE'],
    ['is cut off', 'UPSTREAM_INVALID_RESPONSE'],
    ['is empty', 'UPSTREAM_INVALID_RESPONSE'],
    ['is a list', 'UPSTREAM_INVALID_RESPONSE'],
    ['answers another id', 'UPSTREAM_INVALID_RESPONSE'],
    ['says nothing', 'UPSTREAM_INVALID_RESPONSE'],
    ['has a text as result', 'UPSTREAM_INVALID_RESPONSE'],
    ['is a server error', 'UPSTREAM_INVALID_RESPONSE'],
    ['redirects', 'UPSTREAM_INVALID_RESPONSE'],
    ['closes the connection', 'UPSTREAM_UNAVAILABLE'],
    ['is too much', 'UPSTREAM_RESPONSE_TOO_LARGE'],
  ])('that %s is %s', async (tool, code) => {
    const before = upstream.calls.length;
    // Who answers, in whichever way, may take long on a busy machine.
    const server = code === 'UPSTREAM_TIMEOUT' ? 'tested' : 'patient';
    await expectFailure(await failing(tool, server), code, false);
    // Whatever went wrong, a call is never sent twice.
    expect(upstream.calls.length).toBe(before + 1);
  });

  it('that redirects is not followed', async () => {
    await failing('redirects');
    expect(other.calls).toEqual([]);
  });

  it('may answer up to ten mebibytes', async () => {
    const answer = await callTool(gateway, 'is just enough', {}, { server: 'patient' });
    expect(answer.status).toBe(200);
    expect(answer.text.length).toBeGreaterThan(10 * 1024 * 1024 - 400);
  });

  it('that is not there is unavailable, for calls and for lists', async () => {
    await expectFailure(await failing('echo', 'nobody'), 'UPSTREAM_UNAVAILABLE', true);
    for (const path of ['tools', 'tools/echo/schema']) {
      const answer = await gateway.send(`/v1/mcp/servers/nobody/${path}`, { token: 'anybody' });
      expect(answer.status).toBe(502);
      expect(answer.body).toMatchObject({
        detail: errorTable.UPSTREAM_UNAVAILABLE.message,
        code: 'UPSTREAM_UNAVAILABLE',
        retryable: true,
      });
      expect(answer.text).not.toMatch(/secret-path|127\.0\.0\.1/);
    }
  });

  it('that goes down and comes back serves again, without anybody doing anything', async () => {
    const moving = await startUpstream({ calls: { echo } });
    const own = await startTestGateway({ servers: { tested: moving.url } });
    try {
      expect((await callTool(own, 'echo')).status).toBe(200);
      await moving.close();
      const down = await callTool(own, 'echo');
      expect({ status: down.status, code: down.body['code'] }).toEqual({ status: 502, code: 'UPSTREAM_UNAVAILABLE' });
      expect((await recordOf(own, down)).meta).toMatchObject({ error: 'UPSTREAM_UNAVAILABLE' });
      await moving.reopen();
      await eventually(async () => (await callTool(own, 'echo')).status === 200);
    } finally {
      await own.stop();
      await moving.close();
    }
  });

  it('that fails does not fail the others', async () => {
    const [bad, good] = await Promise.all([failing('hangs'), callTool(gateway, 'echo', {}, { server: 'other' })]);
    expect([bad.status, good.status]).toEqual([504, 200]);
  });
});

describe('sixty calls that hang', () => {
  it('delay neither probes, nor metrics, nor other calls', async () => {
    const calls = Array.from({ length: 60 }, () => callTool(gateway, 'held', {}, { server: 'patient' }));
    await eventually(() => held.waiting() === 60);
    const startedAt = performance.now();
    const others = await Promise.all([
      ...['/healthz', '/readyz', '/health/ready', '/metrics', '/api/events?limit=1'].map((path) => gateway.send(path)),
      callTool(gateway, 'echo', {}, { server: 'other' }),
      callTool(gateway, 'echo', {}, { server: 'patient' }),
    ]);
    expect(others.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200, 200]);
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    held.open();
    const answers = await Promise.all(calls);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(new Set(answers.map(({ body }) => body['audit_ref'])).size).toBe(60);
  });

  it('and whose callers leave are given up at the tool server', async () => {
    const hanging = gate();
    const server = await startUpstream({ calls: { hanging: hanging.respond } });
    const own = await startTestGateway({ servers: { tested: server.url } });
    try {
      const leaving = new AbortController();
      const calls = Array.from({ length: 60 }, () => callTool(own, 'hanging', {}, { signal: leaving.signal }));
      await eventually(() => hanging.waiting() === 60);
      leaving.abort();
      await Promise.allSettled(calls);
      await eventually(() => hanging.left() === 60);
      const records = await eventually(async () => {
        const items = await outcomesOf(own);
        return items.length === 60 && items;
      });
      expect(new Set(records.map((item) => (item['meta'] as JsonObject)['error']))).toEqual(
        new Set(['CALL_CANCELLED']),
      );
    } finally {
      await own.stop();
      await server.close();
    }
  });
});
