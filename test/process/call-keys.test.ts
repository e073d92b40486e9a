/** Two gateways on one database, and keys of calls: one call per key, whoever is asked and whoever is killed meanwhile. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closeIntents } from '../support/dead-gateways.ts';
import type { Answer } from '../support/gateway.ts';
import { createFleet, type GatewayFleet } from '../support/gateway-fleet.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { checkLog } from '../support/log-checker.ts';
import type { Received } from '../support/mcp-scripted.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let fleet: GatewayFleet;
let upstream: Upstream;
let first: GatewayProcess;
let second: GatewayProcess;
/** Calls that the tool has been given and not answered. */
const waiting: { received: Received; response: ServerResponse }[] = [];

beforeAll(async () => {
  upstream = await startUpstream({
    calls: { act: echo, slow: (received, response) => void waiting.push({ received, response }) },
  });
  fleet = await createFleet({
    DEV_MODE: 'true',
    TALOS_MASTER_KEY: `one:${'11'.repeat(32)}`,
    MCP_SERVER_TESTED: upstream.url,
  });
  first = await fleet.start();
  second = await fleet.start();
}, 60_000);

afterAll(async () => {
  await fleet?.stop();
  await upstream?.close();
});

function call({ send }: GatewayProcess, key: string, tool = 'act'): Promise<Answer> {
  return send(`/v1/mcp/servers/tested/tools/${tool}:call`, {
    token: 'anybody',
    json: { input: { key }, idempotency_key: key },
  });
}

const reached = (key: string) => upstream.calls.filter(({ args }) => args['key'] === key).length;
const isReplay = ({ headers }: Answer) => headers.get('idempotent-replayed') === 'true';

describe('two gateways', { timeout: 60_000 }, () => {
  it('make one call of many that come to both at once', async () => {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => call(n % 2 ? first : second, 'crowd')));
    expect(reached('crowd')).toBe(1);
    const made = answers.filter((answer) => answer.status === 200);
    const others = answers.filter((answer) => answer.status !== 200);
    expect(made.filter((answer) => !isReplay(answer))).toHaveLength(1);
    expect(new Set(made.map(({ body }) => body['audit_ref'])).size).toBe(1);
    for (const { status, body } of others) expect([status, body['code']]).toEqual([409, 'IDEMPOTENCY_IN_FLIGHT']);
    for (const gateway of [first, second]) expect(isReplay(await call(gateway, 'crowd'))).toBe(true);
  });

  it('do not read results that are under keys which they do not have, nor call again', async () => {
    const other = await fleet.start({ TALOS_MASTER_KEY: `two:${'22'.repeat(32)}` });
    expect((await call(other, 'foreign')).status).toBe(200);
    expect((await call(first, 'foreign')).body['code']).toBe('RESULT_NOT_KEPT');
    expect(isReplay(await call(other, 'foreign'))).toBe(true);
    expect(reached('foreign')).toBe(1);
    other.child.kill('SIGKILL');
  });
});

describe('a gateway that is killed', { timeout: 90_000 }, () => {
  it('after the call leaves its answer to the others', async () => {
    const made = await call(first, 'survives');
    first.child.kill('SIGKILL');
    await first.ended();
    const again = await call(second, 'survives');
    expect(isReplay(again)).toBe(true);
    expect(again.body['output']).toEqual(made.body['output']);
    expect(again.body['audit_ref']).toBe(made.body['audit_ref']);
    first = await fleet.start();
  });

  it('during the call leaves a key that is at work, then one that says that nobody knows', async () => {
    const lost = call(first, 'lost', 'slow').catch(() => 'cut off');
    await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(1);
    first.child.kill('SIGKILL');
    expect(await lost).toBe('cut off');
    expect((await call(second, 'lost', 'slow')).body['code']).toBe('IDEMPOTENCY_IN_FLIGHT');
    await closeIntents(fleet.database, 1);

    first = await fleet.start();
    const records = await checkLog(fleet.database);
    const closing = records.find(({ record }) => String(record['surface_id']) === 'mcp.tools.reconcile');
    for (const gateway of [first, second, first]) {
      const answer = await call(gateway, 'lost', 'slow');
      expect(answer.status).toBe(500);
      expect(answer.body).toMatchObject({
        code: 'OUTCOME_UNKNOWN',
        retryable: false,
        audit_ref: closing?.eventId,
      });
      expect(isReplay(answer)).toBe(true);
    }
    expect(reached('lost')).toBe(1);
  });

  it('and only stopped answers its own caller late, while the key still says that nobody knows', async () => {
    waiting.length = 0;
    const late = call(first, 'late', 'slow');
    await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(1);
    first.child.kill('SIGSTOP');
    await closeIntents(fleet.database, 1);
    for (const { received, response } of waiting.splice(0)) void echo(received, response);
    first.child.kill('SIGCONT');
    expect((await late).status).toBe(200);
    for (const gateway of [first, second]) {
      expect((await call(gateway, 'late', 'slow')).body['code']).toBe('OUTCOME_UNKNOWN');
    }
    expect(reached('late')).toBe(1);
  });
});
