/**
 * A gateway that is stopped while a tool works, for longer than the others wait: they close its intent as unknown, and
 * what it knows when it wakes is on record all the same, but does not count.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fsck } from '../../src/audit/fsck/fsck.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { openLogSnapshot } from '../../src/storage/log-snapshot.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { closeIntents } from '../support/dead-gateways.ts';
import { eventually } from '../support/gateway.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { checkLog } from '../support/log-checker.ts';
import type { Received } from '../support/mcp-scripted.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let folder: string;
let database: TestDatabase;
let upstream: Upstream;
let gateway: GatewayProcess;
/** Calls that the tool has been given and not answered. */
const waiting: { received: Received; response: ServerResponse }[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-late-'));
  database = await createTestDatabase();
  upstream = await startUpstream({
    calls: { slow: (received, response) => void waiting.push({ received, response }) },
  });
  gateway = await startGatewayProcess({
    cwd: folder,
    env: {
      DEV_MODE: 'true',
      TALOS_GATEWAY_PORT: '0',
      TALOS_DATA_DIR: folder,
      DATABASE_URL: database.url,
      MCP_SERVER_TESTED: upstream.url,
    },
  });
}, 60_000);

afterAll(async () => {
  gateway?.child.kill('SIGCONT');
  gateway?.child.kill('SIGKILL');
  await gateway?.ended();
  await upstream?.close();
  await database?.drop();
  await rm(folder, { recursive: true });
});

function callSlow(requestId: string) {
  return gateway.send('/v1/mcp/servers/tested/tools/slow:call', {
    token: 'anybody',
    json: { input: {}, request_id: requestId },
  });
}

async function fsckFaults(): Promise<unknown[]> {
  const pool = openReadPool(database);
  const snapshot = await openLogSnapshot(database);
  try {
    return [...(await fsck({ snapshot, nodes: createTileReader(pool).nodes })).faults];
  } finally {
    await snapshot.close();
    await pool.end();
  }
}

describe('a gateway that was stopped while a tool worked', () => {
  it('answers with a late record, which names the intent and counts nowhere', { timeout: 90_000 }, async () => {
    const calls = ['late-1', 'late-2'];
    const answers = calls.map(callSlow);
    await eventually(() => (waiting.length === calls.length ? true : undefined), 20_000);
    const counted = await countOf();
    gateway.child.kill('SIGSTOP');
    await closeIntents(database, calls.length);
    for (const { received, response } of waiting.splice(0)) void echo(received, response);
    gateway.child.kill('SIGCONT');

    for (const [index, answer] of (await Promise.all(answers)).entries()) {
      const { status, body } = answer;
      expect({ status, error: body['error'] }).toEqual({ status: 200, error: undefined });
      const words = await wordsOf(calls[index] ?? '');
      const [intent, unknown, late] = words;
      expect(words.map(({ meta, outcome }) => [meta['phase'], outcome])).toEqual([
        ['intent', 'success'],
        ['outcome', 'failure'],
        ['late', 'success'],
      ]);
      expect(unknown?.meta).toMatchObject({ intent_id: intent?.id, reason: 'gateway_restart' });
      expect(late?.meta).toMatchObject({
        intent_id: intent?.id,
        response_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
      expect(body['audit_ref']).toBe(late?.id);
    }
    // The two outcomes that nobody knew are counted, and nothing of what came late.
    expect(await countOf()).toBe(counted + calls.length);
    expect(await fsckFaults()).toEqual([]);
  });

  it('records the outcome of its next call as ever', async () => {
    const answer = callSlow('in-time');
    await eventually(() => (waiting.length === 1 ? true : undefined), 20_000);
    for (const { received, response } of waiting.splice(0)) void echo(received, response);
    expect((await answer).status).toBe(200);
    expect((await wordsOf('in-time')).map(({ meta }) => meta['phase'])).toEqual(['intent', 'outcome']);
  });
});

/** How many tool calls the statistics know of. */
async function countOf(): Promise<number> {
  const { body } = await gateway.send('/admin/v1/audit/stats', { token: 'anybody' });
  return Number(body['requests_24h']);
}

/** The records of one call in the order of the log, which is whole. */
async function wordsOf(requestId: string): Promise<{ id: string; outcome: unknown; meta: JsonObject }[]> {
  const records = await checkLog(database);
  return records
    .filter(({ record }) => String(record['request_id']) === requestId)
    .map(({ eventId, record }) => ({
      id: eventId,
      outcome: record['outcome'],
      meta: record['meta'] ?? {},
    }));
}
