/** `rate_limit` and `max_calls` of a capability: counted by the link that says so, whoever presents what chain. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { childToken, holders, rootToken } from '../support/delegation.ts';
import { type Answer, callTool, recordOf, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { act: echo, look: echo } });
  // A period never passes while a test runs.
  const clock = { now: () => wallClock().now(), monotonic: () => systemClock.monotonic() / 1_000_000 };
  gateway = await startTestGateway({ servers: { tested: upstream.url }, clock });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

let subjects = 0;

function token(
  constraints: Record<string, string | number>,
  scope = 'tool:tested tool:gateway/method:events.read',
): string {
  return tokenWith({ sub: `did:talos:agent-${++subjects}`, scope, constraints });
}

async function call(token: string, tool = 'act'): Promise<Answer> {
  return await callTool(gateway, tool, {}, { token });
}

const statusesOf = (answers: readonly Answer[]) => answers.map(({ status }) => status).sort();

describe('rate_limit', () => {
  it('admits its burst, and refuses the rest with a record of each', async () => {
    const held = token({ rate_limit: '3/day' });
    const before = upstream.calls.length;
    const answers = await Promise.all(Array.from({ length: 8 }, () => call(held)));
    expect(statusesOf(answers)).toEqual([200, 200, 200, 429, 429, 429, 429, 429]);
    expect(upstream.calls.length - before).toBe(3);
    const refused = await call(held);
    expect(refused.body).toMatchObject({ code: 'RATE_LIMITED', details: { limit: 'capability' }, retryable: true });
    expect(refused.headers.get('retry-after')).toBe('28800');
    const { meta, item, record } = await recordOf(gateway, refused);
    expect(item['outcome']).toBe('ERROR');
    expect(record['outcome']).toBe('failure');
    expect(meta['error']).toBe('RATE_LIMITED');
    expect(meta['denial_reason']).toBeUndefined();
  });

  it('is not spent by calls that the capability does not allow', async () => {
    const held = token({ rate_limit: '1/day' }, 'tool:tested/method:look');
    expect((await call(held, 'act')).status).toBe(403);
    expect((await call(held, 'look')).status).toBe(200);
    expect((await call(held, 'look')).status).toBe(429);
  });

  it('counts reading events too', async () => {
    const held = token({ rate_limit: '2/day' });
    const read = () => gateway.send('/api/events?limit=1', { token: held });
    expect([(await read()).status, (await call(held)).status, (await read()).status]).toEqual([200, 200, 429]);
  });

  it.each(['0/day', '1/year', 'often', ''])('that cannot be read refuses every call: %j', async (rate) => {
    expect((await call(token({ rate_limit: rate }))).status).toBe(403);
  });
});

describe('max_calls', () => {
  it('lets so many calls reach the tool and no more, however many come at once', async () => {
    const held = token({ max_calls: 5 });
    const before = upstream.calls.length;
    const answers = await Promise.all(Array.from({ length: 20 }, () => call(held)));
    expect(statusesOf(answers)).toEqual([...Array<number>(5).fill(200), ...Array<number>(15).fill(403)]);
    expect(upstream.calls.length - before).toBe(5);
    const refused = await call(held);
    expect(refused.body).toMatchObject({ code: 'TALOS_DENIED', retryable: false });
    const { meta, item } = await recordOf(gateway, refused);
    expect(item['outcome']).toBe('DENY');
    expect(meta).toMatchObject({ denial_reason: 'SCOPE_MISMATCH', denial_detail: 'constraint:max_calls' });
    expect(meta['intent_id']).toBeUndefined();
  });

  it('makes an intent of every call', async () => {
    const { meta } = await recordOf(gateway, await call(token({ max_calls: 1 }), 'look'));
    expect(meta).toMatchObject({ phase: 'outcome' });
  });

  it('is not spent by calls that are refused before', async () => {
    const held = token({ max_calls: 1 }, 'tool:tested/method:look');
    expect((await call(held, 'act')).status).toBe(403);
    expect((await call(held, 'look')).status).toBe(200);
    expect((await call(held, 'look')).status).toBe(403);
  });

  it('counts all children of a parent together', async () => {
    const scope = 'tool:tested';
    const parent = rootToken({ scope, constraints: { max_calls: 4, rate_limit: '5/day' } });
    const children = ['x', 'y', 'z'].map((name) =>
      childToken(holders[0], [parent], { scope, sub: `did:talos:child-${name}`, constraints: { max_calls: 3 } }),
    );
    const statuses = [];
    for (let n = 0; n < 6; n++) statuses.push((await call(children[n % 3] ?? '')).status);
    expect(statuses).toEqual([200, 200, 200, 200, 403, 429]);
  });

  it('serves for nothing but tool calls', async () => {
    expect((await gateway.send('/api/events?limit=1', { token: token({ max_calls: 9 }) })).status).toBe(403);
  });
});
