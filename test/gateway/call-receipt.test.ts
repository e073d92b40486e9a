/** The receipt of a call with its answer, for whoever prefers it; verified by the command that outsiders use. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  callTool,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  gateway = await startTestGateway({ servers: { tested: upstream.url }, clock: wallClock(), env: productionEnv });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const capability = tokenWith({ scope: 'tool:tested' });

function call(headers: Record<string, string>, tool = 'echo'): Promise<Answer> {
  return callTool(gateway, tool, { city: 'Lisbon' }, { token: capability, headers });
}

const cli = fileURLToPath(new URL('../../cli/talos.ts', import.meta.url));

/** What `talos verify receipt` says of it, given the key that the log names. */
async function verified(receipt: string): Promise<{ code: unknown; out: string }> {
  const { body } = await gateway.send('/log/keys');
  const [key = ''] = body['keys'] as string[];
  const child = spawn(process.execPath, [cli, 'verify', 'receipt', '-', '--key', key], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stdin.end(receipt);
  const [code] = (await once(child, 'close')) as [unknown];
  return { code, out };
}

describe('a call that prefers a receipt', () => {
  it('has one that verifies offline, though its caller may read no events', { timeout: 60_000 }, async () => {
    const answer = await call({ prefer: 'respond-async, Receipt; q="1"' });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('preference-applied')).toBe('receipt');
    const { receipt, audit_ref: auditRef, output } = answer.body as Record<string, JsonObject>;
    expect(output).toMatchObject({ content: [{ text: '{"city":"Lisbon"}' }] });
    expect(answer.body).not.toHaveProperty('receipt_url');
    const record = JSON.parse(String(receipt?.['record'])) as JsonObject;
    expect(record).toMatchObject({ event_id: auditRef, outcome: 'success', meta: { tool_name: 'echo' } });
    const text = JSON.stringify(receipt);
    expect(await verified(text)).toMatchObject({ code: 0, out: expect.stringContaining('verified') });
    expect(await verified(text.replace('tool_name', 'tool_game'))).toMatchObject({ code: 1 });
    const refused = await gateway.send(`/api/events/${String(auditRef)}/proof`, { token: capability });
    expect(refused.status).toBe(403);
  });

  it('has the same one as is fetched later', async () => {
    const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { body } = await call({ prefer: 'receipt' });
    const { receipt, audit_ref: auditRef } = body as Record<string, JsonObject>;
    const fetched = await gateway.send(`/api/events/${String(auditRef)}/proof`, { token: reader });
    const { record, leaf_index: leafIndex, event_hash: eventHash, format } = fetched.body;
    expect(receipt).toMatchObject({ record, leaf_index: leafIndex, event_hash: eventHash, format });
  });

  it('has its answer without one when no checkpoint can be signed, and is told where to ask', async () => {
    const client = new pg.Client({ connectionString: gateway.database.url });
    await client.connect();
    await client.query('BEGIN; LOCK TABLE log_checkpoint IN ACCESS EXCLUSIVE MODE');
    const answer = await call({ prefer: 'receipt' });
    await client.query('COMMIT');
    await client.end();
    expect(answer.status).toBe(200);
    expect(answer.headers.get('preference-applied')).toBeNull();
    expect(answer.body).not.toHaveProperty('receipt');
    expect(answer.body['receipt_url']).toBe(`/api/events/${String(answer.body['audit_ref'])}/proof`);
    expect(answer.body['output']).toMatchObject({ content: [{ text: '{"city":"Lisbon"}' }] });
  });

  it('names its record when it is refused', async () => {
    const answer = await call({ prefer: 'receipt' }, 'nothing');
    expect(answer.status).toBe(404);
    expect(answer.body).not.toHaveProperty('receipt');
    expect(answer.body['audit_ref']).toBe(answer.headers.get('x-talos-audit-ref'));
  });
});

it.each([{}, { prefer: 'return=minimal' }, { prefer: 'receipts' }, { prefer: 'x=receipt' }])(
  'a call with %j has the answer that clients know',
  async (headers) => {
    const answer = await call(headers as Record<string, string>);
    expect(Object.keys(answer.body).sort()).toEqual(['audit_ref', 'output', 'request_id', 'timing_ms']);
    expect(answer.headers.get('preference-applied')).toBeNull();
  },
);
