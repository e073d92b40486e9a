/** The official `@modelcontextprotocol/server-everything`, called through the gateway over stdio and over Streamable HTTP. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { callTool, recordOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { everythingProgram } from '../support/mcp-processes.ts';
import { startEverythingServer } from '../support/upstream.ts';

let web: { url: string; stop: () => Promise<void> };
let gateway: TestGateway;

beforeAll(async () => {
  web = await startEverythingServer();
  gateway = await startTestGateway({
    file: `servers:
  stdio: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(everythingProgram)}, stdio] }
  http: { url: ${web.url} }
`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await web.stop();
});

describe.each(['stdio', 'http'])('the official server over %s', (server) => {
  it('lists its tools', async () => {
    const { status, body } = await gateway.send(`/v1/mcp/servers/${server}/tools`, { token: 'anybody' });
    expect(status).toBe(200);
    const names = (body['tools'] as JsonObject[]).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['echo', 'get-sum']));
  });

  it('answers calls, each with its record', async () => {
    const answer = await callTool(gateway, 'echo', { message: 'through the gateway' }, { server });
    expect(answer.status).toBe(200);
    expect(answer.body['output']).toMatchObject({ content: [{ type: 'text', text: 'Echo: through the gateway' }] });
    const { record, meta } = await recordOf(gateway, answer);
    expect(record).toMatchObject({
      outcome: 'success',
      resource: { resource_type: 'tool', resource_id: `${server}/echo` },
    });
    expect(meta).toMatchObject({
      server_id: server,
      tool_name: 'echo',
      response_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it('answers many calls at once, each its own', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => callTool(gateway, 'get-sum', { a: n, b: 1000 }, { server })),
    );
    const texts = answers.map(({ body }) => JSON.stringify(body['output']));
    for (const [n, text] of texts.entries()) expect(text).toContain(`${n + 1000}`);
  });

  it('is not asked what does not match its schema', async () => {
    const { body } = await callTool(gateway, 'get-sum', { a: 'one', b: 2 }, { server });
    expect(body['error']).toMatchObject({ code: 400, category: 'SCHEMA_MISMATCH' });
  });

  it('describes a tool with the hash of its schema', async () => {
    const { body } = await gateway.send(`/v1/mcp/servers/${server}/tools/echo/schema`, { token: 'anybody' });
    expect(body).toMatchObject({
      tool_name: 'echo',
      json_schema: { type: 'object' },
      schema_hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    });
  });
});

describe('both ways to the same server', () => {
  it('show the same definitions', async () => {
    const hashes = await Promise.all(
      ['stdio', 'http'].map(async (server) => {
        const { body } = await gateway.send(`/v1/mcp/servers/${server}/tools/get-sum/schema`, { token: 'anybody' });
        return [body['schema_hash'], body['definition_hash']];
      }),
    );
    expect(hashes[0]).toEqual(hashes[1]);
  });
});
