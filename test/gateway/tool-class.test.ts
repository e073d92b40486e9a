/** What the tool registry says of a tool: what only reads has one record and may be repeated, everything else has two. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { readToolRegistry } from '../../src/mcp/tool-registry.ts';
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
  const tool = (tool_name: string, tool_class: string, more: JsonObject = {}) => ({
    tool_server: 'tested',
    tool_name,
    tool_class,
    requires_idempotency_key: false,
    ...more,
  });
  const registry = {
    registry_version: '1.0.0',
    generated_at: '2026-01-01T00:00:00Z',
    tools: [
      tool('reads', 'read'),
      tool('reads and breaks', 'read'),
      tool('writes', 'write'),
      tool('copies', 'write', { path_arguments: ['from', 'to'] }),
    ],
  };
  await writeFile(join(folder, 'registry.json'), JSON.stringify(registry));
  upstream = await startUpstream({
    calls: { reads: echo, writes: echo, copies: echo, unlisted: echo, 'reads and breaks': breaks, breaks },
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

describe('an argument that the registry says holds a path', () => {
  const capability = tokenWith({ scope: 'tool:tested', constraints: { paths: ['/docs/**'] } });
  const statusOf = async (tool: string, input: JsonObject) =>
    (await callTool(gateway, tool, input, { capability })).status;

  it.each<[string, JsonObject, number]>([
    ['copies', { from: '/docs/a', to: '/docs/b/c' }, 200],
    ['copies', { from: ['/docs/a', '/docs/b'] }, 200],
    ['copies', { from: '/docs/a', to: '/etc/passwd' }, 403],
    ['copies', { from: '/docs/a', to: '/docs/../etc/passwd' }, 403],
    ['copies', { from: '/docs/a', deep: { to: '/etc' } }, 403],
    ['copies', { from: '/docs/a', path: '/etc' }, 403],
    ['copies', { from: 1 }, 403],
    ['copies', { text: '/docs/a' }, 403],
    // Of another tool they are arguments like any other.
    ['writes', { path: '/docs/a', to: '/etc' }, 200],
    ['writes', { from: '/docs/a' }, 403],
  ])('is judged as one: %s %j', async (tool, input, status) => {
    expect(await statusOf(tool, input)).toBe(status);
  });
});

describe('a registry that cannot be understood', () => {
  const tool = { tool_server: 'tested', tool_name: 'copies', tool_class: 'write' };
  const names = 'the path_arguments of tested/copies must be a list of at most 64 names of arguments';

  it.each<[string, JsonValue, string]>([
    ['no list', {}, 'it has no list of tools'],
    ['a tool without a name', { tools: [{ tool_server: 'tested' }] }, 'tools[0] needs tool_server and tool_name'],
    ['a tool that is none', { tools: [1] }, 'tools[0] needs tool_server and tool_name'],
    ['another class', { tools: [{ ...tool, tool_class: 'both' }] }, 'must be read or write'],
    ['no yes or no', { tools: [{ ...tool, requires_idempotency_key: 'yes' }] }, 'must be true or false'],
    ['a tool twice', { tools: [tool, tool] }, 'tested/copies is listed twice'],
    ['one name', { tools: [{ ...tool, path_arguments: 'to' }] }, names],
    ['an empty name', { tools: [{ ...tool, path_arguments: [''] }] }, names],
    ['a name that is none', { tools: [{ ...tool, path_arguments: [1] }] }, names],
    ['null for names', { tools: [{ ...tool, path_arguments: null }] }, names],
    ['too many names', { tools: [{ ...tool, path_arguments: Array.from({ length: 65 }, String) }] }, names],
  ])('stops the start: %s', async (_, registry, sentence) => {
    const file = join(folder, 'wrong.json');
    await writeFile(file, JSON.stringify(registry));
    await expect(readToolRegistry(file)).rejects.toThrow(sentence);
    await expect(readToolRegistry(file)).rejects.toThrow(`The tool registry ${file} cannot be used`);
  });
});
