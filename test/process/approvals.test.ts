/** Two gateways on one database, and calls that a human approves: made once, whichever of them is killed meanwhile. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { closeIntents } from '../support/dead-gateways.ts';
import { type Answer, eventually } from '../support/gateway.ts';
import { createFleet, type GatewayFleet } from '../support/gateway-fleet.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { checkLog } from '../support/log-checker.ts';
import { type Received, said, sendResult } from '../support/mcp-scripted.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const admin = 'an admin secret that only this test knows';
let fleet: GatewayFleet;
let upstream: Upstream;
let first: GatewayProcess;
let second: GatewayProcess;
/** Calls that the tool has been given and not answered. */
const waiting: { received: Received; response: ServerResponse }[] = [];

beforeAll(async () => {
  upstream = await startUpstream({
    calls: {
      pay: (received, response) => sendResult(received, response, said('paid')),
      slow: (received, response) => void waiting.push({ received, response }),
    },
  });
  fleet = await createFleet({
    DEV_MODE: 'true',
    AUTH_ADMIN_SECRET: admin,
    TALOS_MASTER_KEY: `one:${'11'.repeat(32)}`,
    TALOS_APPROVAL_WAIT_SECONDS: '0',
    MCP_SERVER_TESTED: upstream.url,
  });
  first = await fleet.start();
  second = await fleet.start();
  const json = { team_id: 'default', require_approval: { tested: ['*'] } };
  expect((await first.send('/admin/v1/mcp/policies', { token: admin, json })).status).toBe(200);
  await eventually(async () => (await call(second, { probe: 1 })).status === 409, 20_000);
}, 60_000);

afterAll(async () => {
  await fleet?.stop();
  await upstream?.close();
});

interface CallOptions {
  readonly tool?: string;
  readonly approval?: string;
  readonly wait?: number;
}

function call(
  { send }: GatewayProcess,
  input: JsonObject,
  { tool = 'pay', approval, wait }: CallOptions = {},
): Promise<Answer> {
  return send(`/v1/mcp/servers/tested/tools/${tool}:call`, {
    token: 'anybody',
    json: { input, ...(approval === undefined ? {} : { approval_id: approval }) },
    headers: wait === undefined ? {} : { prefer: `wait=${wait}` },
  });
}

async function asked(gateway: GatewayProcess, input: JsonObject, options?: CallOptions): Promise<string> {
  const { body } = await call(gateway, input, options);
  expect(body['code']).toBe('APPROVAL_PENDING');
  return (body['details'] as unknown as { approval_id: string }).approval_id;
}

const approve = ({ send }: GatewayProcess, id: string) =>
  send(`/admin/v1/mcp/approvals/${id}/approve`, { token: admin, json: {} });
const reached = (n: number) => upstream.calls.filter(({ args }) => args['n'] === n).length;

async function restart(): Promise<void> {
  first.child.kill('SIGKILL');
  await first.ended();
  first = await fleet.start();
}

describe('a gateway that is killed', { timeout: 90_000 }, () => {
  it('between the asking and the decision leaves what can be approved and resumed elsewhere', async () => {
    const id = await asked(first, { n: 1 });
    const lost = call(first, { n: 1 }, { approval: id, wait: 60 }).catch(() => 'cut off');
    await restart();
    expect(await lost).toBe('cut off');
    expect((await approve(second, id)).status).toBe(200);
    expect((await call(second, { n: 1 }, { approval: id })).status).toBe(200);
    expect(reached(1)).toBe(1);
  });

  it('between the decision and the call leaves it to be made, once', async () => {
    const id = await asked(first, { n: 2 });
    expect((await approve(first, id)).status).toBe(200);
    await restart();
    const answers = await Promise.all(
      [first, second, first].map((gateway) => call(gateway, { n: 2 }, { approval: id })),
    );
    expect(reached(2)).toBe(1);
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
  });

  it('during the call leaves one that nobody makes again, and that says so', async () => {
    const id = await asked(first, { n: 3 }, { tool: 'slow' });
    await approve(second, id);
    const lost = call(first, { n: 3 }, { tool: 'slow', approval: id }).catch(() => 'cut off');
    await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(1);
    first.child.kill('SIGKILL');
    expect(await lost).toBe('cut off');
    expect((await call(second, { n: 3 }, { tool: 'slow', approval: id })).body['code']).toBe('IDEMPOTENCY_IN_FLIGHT');
    await closeIntents(fleet.database, 1);
    const unknown = await call(second, { n: 3 }, { tool: 'slow', approval: id });
    expect([unknown.status, unknown.body['code'], unknown.body['retryable']]).toEqual([500, 'OUTCOME_UNKNOWN', false]);
    expect(reached(3)).toBe(1);
    first = await fleet.start();
  });

  it('leaves a log that verifies', async () => {
    expect((await checkLog(fleet.database)).length).toBeGreaterThan(0);
  });
});

describe('a gateway that is stopped', { timeout: 60_000 }, () => {
  it('tells those that wait to ask again, at once', async () => {
    const id = await asked(first, { n: 4 });
    const waits = call(first, { n: 4 }, { approval: id, wait: 60 });
    // The request is in when another one behind it was answered.
    await call(first, { n: 5 });
    first.child.kill('SIGTERM');
    const answer = await waits;
    expect([answer.status, answer.body['code']]).toEqual([409, 'APPROVAL_PENDING']);
    expect((await first.ended()).code).toBe(0);
  });
});
