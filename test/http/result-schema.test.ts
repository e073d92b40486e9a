/** Structured results that are not as their tools say: they pass, and the record, a metric and the log tell of it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { callTool, recordOf, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { type Respond, said, sendResult, toolNamed } from '../support/mcp-scripted.ts';
import { ask, request } from '../support/native-client.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const outputSchema = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'] };
const secret = 'what only the caller may read';
const gives =
  (result: JsonObject): Respond =>
  (received, response) =>
    sendResult(received, response, { ...said('text'), ...result });

const results: Record<string, JsonObject> = {
  right: { structuredContent: { n: 1 } },
  wrong: { structuredContent: { n: secret } },
  array: { structuredContent: [secret] as unknown as JsonObject },
  bare: {},
  failed: { isError: true },
  free: { structuredContent: { n: secret } },
  odd: { structuredContent: { n: 1 } },
};
const schemas: Record<string, JsonObject> = { free: {}, odd: { outputSchema: { $ref: 'https://elsewhere.example/' } } };

let upstream: Upstream;
let gateway: TestGateway;
const clock = { ...wallClock(), laterMs: 0, monotonic: () => performance.now() + clock.laterMs };

beforeAll(async () => {
  upstream = await startUpstream({
    tools: Object.keys(results).map((name) => ({ ...toolNamed(name), ...(schemas[name] ?? { outputSchema }) })),
    calls: Object.fromEntries(Object.entries(results).map(([name, result]) => [name, gives(result)])),
  });
  gateway = await startTestGateway({ servers: { tested: upstream.url }, clock });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const warnings = () =>
  gateway.logLines().filter(({ msg }) => msg === 'the result of a tool is not as its output schema says');

async function markOf(tool: string): Promise<unknown> {
  const answer = await callTool(gateway, tool, {}, { server: 'tested' });
  expect(answer.status).toBe(200);
  return (await recordOf(gateway, answer)).meta['result_schema'];
}

describe('a result', () => {
  it.each([
    ['wrong', 'mismatch'],
    ['array', 'mismatch'],
    ['bare', 'missing'],
    ['odd', 'unchecked'],
  ])('passes and is marked where it is not as promised: %s', async (tool, fault) => {
    const answer = await callTool(gateway, tool, {}, { server: 'tested' });
    expect(answer.body['output']).toMatchObject(results[tool] as JsonObject);
    expect((await recordOf(gateway, answer)).meta['result_schema']).toBe(fault);
    expect(warnings().filter((line) => line['tool'] === tool)).toEqual([
      expect.objectContaining({ level: 40, server: 'tested', fault }),
    ]);
    expect((await gateway.send('/metrics')).text).toContain(
      `gateway_tool_result_mismatches_total{server="tested",fault="${fault}"}`,
    );
  });

  it.each(['right', 'free', 'failed'])('is not marked where nothing else was promised: %s', async (tool) => {
    expect(await markOf(tool)).toBeUndefined();
    expect(warnings().filter((line) => line['tool'] === tool)).toEqual([]);
  });

  it('is marked each time, and said now and then, never with what it says', async () => {
    for (let time = 0; time < 3; time++) expect(await markOf('wrong')).toBe('mismatch');
    const said = () => warnings().filter(({ tool }) => tool === 'wrong').length;
    expect(said()).toBe(1);
    clock.laterMs += 600_000;
    await markOf('wrong');
    expect(said()).toBe(2);
    expect(JSON.stringify(gateway.logLines())).not.toContain(secret);
  });

  it('is the same to a client of MCP', async () => {
    const message = request('tools/call', { name: 'wrong', arguments: {} }, 'call');
    const answer = await ask(gateway.url, { path: '/mcp/tested', message });
    expect(await answer.answer('call')).toMatchObject({ result: { structuredContent: { n: secret } } });
  });
});
