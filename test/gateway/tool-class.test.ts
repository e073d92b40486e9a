/** What the tool registry says of a tool: what only reads has one record and may be repeated, everything else has two. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { callTool, itemsOf, recordOf, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import type { Respond } from '../support/mcp-scripted.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const breaks: Respond = (_, response) => void response.destroy();

let folder: string;
let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-registry-'));
  const tool = (tool_name: string, tool_class: string) => ({
    tool_server: 'tested',
    tool_name,
    tool_class,
    requires_idempotency_key: false,
  });
  const registry = {
    registry_version: '1.0.0',
    generated_at: '2026-01-01T00:00:00Z',
    tools: [tool('reads', 'read'), tool('reads and breaks', 'read'), tool('writes', 'write')],
  };
  await writeFile(join(folder, 'registry.json'), JSON.stringify(registry));
  upstream = await startUpstream({
    calls: { reads: echo, writes: echo, unlisted: echo, 'reads and breaks': breaks, breaks },
  });
  gateway = await startTestGateway({
    servers: { tested: upstream.url, other: upstream.url },
    file: `tool_registry: ${join(folder, 'registry.json')}\n`,
    clock: wallClock(),
  });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

let calls = 0;

async function phasesOf(tool: string, server = 'tested') {
  const requestId = `phases-${calls++}`;
  const answer = await callTool(gateway, tool, {}, { requestId, server });
  const items = await itemsOf(gateway, `correlation_id=${requestId}`);
  return { answer, phases: items.map((item) => (item['meta'] as JsonObject)['phase']).reverse() };
}

describe('a tool that only reads', () => {
  it('has one record, durable before the answer', async () => {
    const { answer, phases } = await phasesOf('reads');
    expect({ status: answer.status, phases }).toEqual({ status: 200, phases: [undefined] });
    expect((await recordOf(gateway, answer)).meta).not.toHaveProperty('intent_id');
  });

  it('may be called again when it broke', async () => {
    const { answer, phases } = await phasesOf('reads and breaks');
    expect(answer.body).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true });
    expect(phases).toEqual([undefined]);
  });

  it('is what a read-only capability allows', async () => {
    const capability = tokenWith({ scope: 'tool:tested', constraints: { read_only: true } });
    const statuses = ['reads', 'writes', 'unlisted'].map(
      async (tool) => (await callTool(gateway, tool, {}, { capability })).status,
    );
    expect(await Promise.all(statuses)).toEqual([200, 403, 403]);
  });
});

describe('every other tool', () => {
  it.each([
    ['writes', 'tested'],
    ['unlisted', 'tested'],
    // The registry names tools by their server.
    ['reads', 'other'],
  ])('has a record before the call and one after it: %s of %s', async (tool, server) => {
    const { answer, phases } = await phasesOf(tool, server);
    expect({ status: answer.status, phases }).toEqual({ status: 200, phases: ['intent', 'outcome'] });
  });

  it('must not be called again blindly when it broke', async () => {
    const { answer, phases } = await phasesOf('breaks');
    expect(answer.body).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: false });
    expect(phases).toEqual(['intent', 'outcome']);
  });
});
