import { describe, expect, it } from 'vitest';
import type { McpServer } from '../../src/mcp/registry.ts';
import { everythingProgram, startEverythingHttp } from '../support/mcp-processes.ts';
import { call, failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';

const transports: readonly (readonly [string, () => Promise<McpServer>])[] = [
  ['stdio', async () => serverOf({ transport: 'stdio', command: 'node', args: [everythingProgram] }).server],
  ['Streamable HTTP', async () => serverOf({ transport: 'http', url: await startEverythingHttp() }).server],
  [
    'an address whose kind is not told',
    async () => serverOf({ transport: 'auto', url: await startEverythingHttp() }).server,
  ],
];

describe.each(transports)('the official server-everything over %s', (_, start) => {
  it('lists its tools and answers calls', async () => {
    const server = await start();
    const names = (await server.listTools(patience())).map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['echo', 'get-sum', 'get-structured-content', 'trigger-long-running-operation']),
    );
    expect(textOf(await call(server, 'echo', { message: 'Grüße' }))).toBe('Echo: Grüße');
    expect(textOf(await call(server, 'get-sum', { a: 2, b: 3.5 }))).toContain('5.5');
    expect(await call(server, 'get-structured-content', { location: 'New York' })).toMatchObject({
      kind: 'result',
      isError: false,
      result: { structuredContent: { temperature: expect.any(Number) } },
    });
  });

  it('has schemas that say what is wrong', async () => {
    const sum = await (await start()).tool('get-sum', patience());
    expect(sum?.schemaHash).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(sum?.validate({ a: 1, b: 2 })).toEqual([]);
    expect(sum?.validate({ a: 'x' })).toEqual(["required property 'b' missing", "property 'a' must be number"]);
    expect(sum?.validate(null)).toEqual(['the input must be object']);
  });

  it('says so when a tool does not exist or does not like its arguments', async () => {
    const server = await start();
    expect(await server.tool('no-such-tool', patience())).toBeUndefined();
    expect(await call(server, 'no-such-tool')).toMatchObject({ kind: 'result', isError: true });
    expect(await call(server, 'get-sum', { a: 'x' })).toMatchObject({ kind: 'result', isError: true });
  });

  it('answers many calls at once, and survives being given up', async () => {
    const server = await start();
    const long = { duration: 30, steps: 2 };
    // Started and shaken hands with: what is given up is the call.
    await server.listTools(patience());
    expect(await failureOf(call(server, 'trigger-long-running-operation', long, { timeoutMs: 200 }))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: true,
    });
    const messages = Array.from({ length: 50 }, (_unused, at) => `message ${at}`);
    const answers = await Promise.all(messages.map((message) => call(server, 'echo', { message })));
    expect(answers.map(textOf)).toEqual(messages.map((message) => `Echo: ${message}`));
  });
});
