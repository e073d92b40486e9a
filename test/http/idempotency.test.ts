/** `Idempotency-Key` on the routes that take events. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonValue } from '../../src/core/json.ts';
import { itemsOf, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startTestGateway({ clock: wallClock() });
});

afterAll(async () => {
  await checkLog({ url: gateway.database.url });
  await gateway.stop();
});

let keys = 0;
const freshKey = () => `key ${keys++}`;

const event = (n = 0) => ({ event_type: 'test', actor: 'somebody', action: 'acted', metadata: { n } });
const bodies: readonly (readonly [string, JsonValue, JsonValue])[] = [
  ['/api/events', event(), event(1)],
  ['/api/events/log', { event_type: 'test', action: 'acted' }, { event_type: 'test', action: 'acted twice' }],
  ['/api/events/batch', [event(), event(1)], [event(1), event()]],
];

function submit(path: string, key: string, json: JsonValue, headers: Readonly<Record<string, string>> = {}) {
  return gateway.send(path, { json, headers: { 'idempotency-key': key, ...headers } });
}

async function count(): Promise<number> {
  return (await itemsOf(gateway)).length;
}

describe.each(bodies)('%s', (path, body, other) => {
  it('answers a repeated request as the first time', async () => {
    const key = freshKey();
    const first = await submit(path, key, body);
    const before = await count();
    const again = await submit(path, key, body);
    expect(first.status).toBe(200);
    expect(first.headers.get('idempotent-replayed')).toBeNull();
    expect(again.status).toBe(200);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.text).toBe(first.text);
    expect(again.headers.get('x-talos-audit-ref')).toBe(first.headers.get('x-talos-audit-ref'));
    expect(await count()).toBe(before);
  });

  it('refuses the key for another body, and names the record', async () => {
    const key = freshKey();
    const first = await submit(path, key, body);
    const before = await count();
    const refused = await submit(path, key, other);
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ code: 'IDEMPOTENCY_CONFLICT', retryable: false });
    expect(refused.headers.get('x-talos-audit-ref')).toBe(first.headers.get('x-talos-audit-ref'));
    expect(refused.headers.get('idempotent-replayed')).toBeNull();
    expect(await count()).toBe(before);
    expect((await submit(path, key, body)).text).toBe(first.text);
  });

  it('records twice what comes without a key, or under two', async () => {
    const before = await count();
    const added = Array.isArray(body) ? body.length : 1;
    for (const headers of [{}, {}, { 'idempotency-key': freshKey() }, { 'idempotency-key': freshKey() }]) {
      const answer = await gateway.send(path, { json: body, headers });
      expect(answer.headers.get('idempotent-replayed')).toBeNull();
    }
    expect(await count()).toBe(before + 4 * added);
  });

  it('makes one record of the same request sent many times at once', async () => {
    const key = freshKey();
    const before = await count();
    const answers = await Promise.all(Array.from({ length: 20 }, () => submit(path, key, body)));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === null)).toHaveLength(1);
    expect(await count()).toBe(before + (Array.isArray(body) ? body.length : 1));
  });

  it.each([
    ['empty', ''],
    ['too long', 'k'.repeat(256)],
    ['not ASCII', 'k\u00e9y'],
  ])('refuses a key that is %s, and records nothing', async (_, key) => {
    const before = await count();
    const refused = await submit(path, key, body);
    expect(refused.status).toBe(422);
    expect(refused.body).toMatchObject({ code: 'VALIDATION_FAILED' });
    expect(refused.text).toContain('idempotency-key');
    expect(await count()).toBe(before);
  });

  it('takes a key of the greatest length', async () => {
    expect((await submit(path, 'k'.repeat(255), body)).status).toBe(200);
  });
});

describe('what a key belongs to', () => {
  it('is one route: another has its own', async () => {
    const key = freshKey();
    await submit('/api/events', key, event());
    const answer = await submit('/api/events/batch', key, [event()]);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('idempotent-replayed')).toBeNull();
  });

  it('is one caller: another one neither sees nor blocks it', async () => {
    const key = freshKey();
    const first = await submit('/api/events', key, event());
    const answer = await submit('/api/events', key, event(7), {
      'x-talos-capability': tokenWith({ scope: 'tool:gateway' }),
    });
    const repeated = await submit('/api/events', key, event());
    expect(answer.status).toBe(200);
    expect(answer.body['event_id']).not.toBe(first.body['event_id']);
    expect(repeated.text).toBe(first.text);
  });

  it('is what the body says, not how it is written', async () => {
    const key = freshKey();
    const first = await submit('/api/events', key, event());
    const { metadata, ...rest } = event();
    const answer = await gateway.send('/api/events', {
      raw: JSON.stringify({ metadata, ...rest }, null, 2),
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
    });
    expect(answer.text).toBe(first.text);
  });

  it('is the list, not whether it came as an array or as lines', async () => {
    const key = freshKey();
    const first = await submit('/api/events/batch', key, [event(), event(1)]);
    const answer = await gateway.send('/api/events/batch', {
      raw: `${JSON.stringify(event())}\n${JSON.stringify(event(1))}\n`,
      headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': key },
    });
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(answer.text).toBe(first.text);
  });

  it('is not taken by a request that was refused', async () => {
    const key = freshKey();
    expect((await submit('/api/events', key, { event_type: 'test' })).status).toBe(422);
    const answer = await submit('/api/events', key, event());
    expect(answer.status).toBe(200);
    expect(answer.headers.get('idempotent-replayed')).toBeNull();
  });
});
