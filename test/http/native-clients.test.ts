/** The official clients of both generations and eras, with everything that MCP has in both directions, through the gateway. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as OlderClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as OlderTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { itemsOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { everythingProgram } from '../support/mcp-processes.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';

let reference: ReferenceServer;
let gateway: TestGateway;

beforeAll(async () => {
  reference = await startReferenceServer();
  gateway = await startTestGateway({
    file: `servers:
  reference: { url: ${reference.url} }
  stdio: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(everythingProgram)}, stdio] }
`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await reference.stop();
});

const content = { name: 'Ada', username: 'ada', email: 'ada@example.com', ok: true };
const elicited = { action: 'accept' as const, content };
const sampled = { role: 'assistant' as const, model: 'm', content: { type: 'text' as const, text: 'Paris' } };
const roots = { roots: [{ uri: 'file:///work', name: 'work' }] };
const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };
const addressOf = (path: string) => new URL(`${gateway.url}${path}`);

async function newerClient(mode: 'legacy' | 'auto', path = '/mcp/reference') {
  const methods: string[] = [];
  const client = new Client({ name: 'newer', version: '1' }, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', () => elicited);
  client.setRequestHandler('sampling/createMessage', () => sampled);
  client.setRequestHandler('roots/list', () => roots);
  for (const method of [
    'notifications/message',
    'notifications/resources/updated',
    'notifications/tools/list_changed',
    'notifications/prompts/list_changed',
  ] as const) {
    client.setNotificationHandler(method, () => void methods.push(method));
  }
  const transport = new StreamableHTTPClientTransport(addressOf(path));
  await client.connect(transport);
  onTestFinished(() => client.close());
  return { client, transport, methods };
}

async function olderClient(path = '/mcp/reference') {
  const methods: string[] = [];
  const client = new OlderClient({ name: 'older', version: '1' }, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, () => elicited);
  client.setRequestHandler(CreateMessageRequestSchema, () => sampled);
  client.setRequestHandler(ListRootsRequestSchema, () => roots);
  for (const schema of [
    LoggingMessageNotificationSchema,
    ResourceUpdatedNotificationSchema,
    ToolListChangedNotificationSchema,
  ]) {
    client.setNotificationHandler(schema as typeof ToolListChangedNotificationSchema, ({ method }) => {
      methods.push(method);
    });
  }
  const transport = new OlderTransport(addressOf(path), {
    reconnectionOptions: {
      initialReconnectionDelay: 10,
      maxReconnectionDelay: 100,
      reconnectionDelayGrowFactor: 1.5,
      maxRetries: 50,
    },
  });
  await client.connect(transport);
  onTestFinished(() => client.close());
  return { client, transport, methods };
}

const sessions = [
  ['the newer client', () => newerClient('legacy')],
  ['the older client', () => olderClient()],
] as const;

describe.each(sessions)('%s in a session', (_, connect) => {
  it('follows progress', async () => {
    const { client } = await connect();
    const seen: number[] = [];
    const onprogress = ({ progress }: { progress: number }) => void seen.push(progress);
    const params = { name: 'test_tool_with_progress', arguments: {} };
    // The two generations have their options in different places.
    if (client instanceof Client) await client.callTool(params, { onprogress });
    else await client.callTool(params, undefined, { onprogress });
    expect(seen).toEqual([0, 50, 100]);
  });

  it('is asked for samples and for its user by the tools that it calls', async () => {
    const { client } = await connect();
    const sample = await client.callTool({ name: 'test_sampling', arguments: { prompt: 'The capital of France?' } });
    expect(JSON.stringify(sample.content)).toContain('LLM response: Paris');
    const asked = await client.callTool({ name: 'test_elicitation', arguments: { message: 'Who?' } });
    expect(JSON.stringify(asked.content)).toContain('ada@example.com');
    const records = (await itemsOf(gateway, 'limit=20')).filter(({ method }) => method === 'mcp.server.request');
    expect(records.map(({ outcome }) => outcome).slice(0, 2)).toEqual(['OK', 'OK']);
    expect(JSON.stringify(records)).not.toContain('ada@example.com');
  });

  it('hears log messages of the level that it sets', async () => {
    const { client, methods } = await connect();
    await client.setLoggingLevel('debug');
    await client.callTool({ name: 'test_tool_with_logging', arguments: {} });
    await expect
      .poll(() => methods.filter((method) => method === 'notifications/message').length, { timeout: 20_000 })
      .toBe(3);
  });

  it('hears that the tools have changed, and sees the new ones', async () => {
    const { client, methods } = await connect();
    const names = async () => (await client.listTools()).tools.map(({ name }) => name);
    const before = (await names()).includes('test_extra');
    await client.callTool({ name: 'test_trigger_tool_change', arguments: {} });
    await expect.poll(() => methods.includes('notifications/tools/list_changed'), { timeout: 20_000 }).toBe(true);
    await expect.poll(async () => (await names()).includes('test_extra'), { timeout: 20_000 }).toBe(!before);
  });

  it('subscribes to resources', async () => {
    const { client } = await connect();
    const uri = 'test://watched-resource';
    expect(await client.subscribeResource({ uri })).toEqual({});
    expect(await client.unsubscribeResource({ uri })).toEqual({});
  });

  it('can cancel what it has called', async () => {
    const { client } = await connect();
    const leave = new AbortController();
    const params = { name: 'test_elicitation', arguments: { message: 'never answered' } };
    const answer =
      client instanceof Client
        ? client.callTool(params, { signal: leave.signal })
        : client.callTool(params, undefined, { signal: leave.signal });
    leave.abort();
    await expect(answer).rejects.toThrow();
    expect(await client.ping()).toEqual({});
  });

  it('ends its session, and has none then', async () => {
    const { transport } = await connect();
    const sessionId = transport.sessionId ?? '';
    await transport.terminateSession();
    expect(transport.sessionId).toBeUndefined();
    const ping = { jsonrpc: '2.0', id: 1, method: 'ping' };
    const { status } = await gateway.send('/mcp/reference', { json: ping, headers: { 'mcp-session-id': sessionId } });
    expect(status).toBe(404);
  });
});

describe('the newer client without a session', () => {
  it('follows progress, and hears the log messages that it asks for', async () => {
    const { client } = await newerClient('auto');
    const seen: number[] = [];
    await client.callTool(
      { name: 'test_tool_with_progress', arguments: {} },
      { onprogress: ({ progress }) => void seen.push(progress) },
    );
    expect(seen).toEqual([0, 50, 100]);
  });

  it.each([
    ['test_input_required_result_elicitation', 'Hello, Ada!'],
    ['test_input_required_result_sampling', 'Paris'],
    ['test_input_required_result_list_roots', 'file:///work'],
    ['test_input_required_result_request_state', 'state-ok'],
    ['test_input_required_result_multiple_inputs', 'All three were answered.'],
  ])('gives %s the input that it requires', async (name, said) => {
    const { client } = await newerClient('auto');
    const answer = await client.callTool({ name, arguments: {} });
    expect(JSON.stringify(answer.content)).toContain(said);
    const rounds = (await itemsOf(gateway, `tool=${name}&limit=10`)).filter(
      ({ meta }) => (meta as JsonObject)['phase'] === 'outcome',
    );
    expect(rounds.length).toBeGreaterThan(1);
    expect(rounds.slice(0, 2).map(({ meta }) => typeof (meta as JsonObject)['asked_for'])).toEqual([
      'undefined',
      'string',
    ]);
  });

  it('listens to what it subscribes to', async () => {
    const { client, methods } = await newerClient('auto');
    const subscription = await client.listen({ toolsListChanged: true, promptsListChanged: true });
    await client.callTool({ name: 'test_trigger_tool_change', arguments: {} });
    await client.callTool({ name: 'test_trigger_prompt_change', arguments: {} });
    await expect
      .poll(() => [...new Set(methods)].sort(), { timeout: 20_000 })
      .toEqual(['notifications/prompts/list_changed', 'notifications/tools/list_changed']);
    await subscription.close();
  });
});

describe('a server over stdio', () => {
  it('tells each client of its own calls', async () => {
    const { client } = await olderClient('/mcp/stdio');
    const seen: number[] = [];
    const params = { name: 'trigger-long-running-operation', arguments: { duration: 0.1, steps: 2 } };
    await client.callTool(params, undefined, { onprogress: ({ progress }) => void seen.push(progress) });
    expect(seen).toEqual([1, 2]);
  });

  it('serves two clients apart', async () => {
    const [one, two] = await Promise.all([olderClient('/mcp/stdio'), newerClient('legacy', '/mcp/stdio')]);
    const [first, second] = await Promise.all([
      one.client.callTool({ name: 'echo', arguments: { message: 'one' } }),
      two.client.callTool({ name: 'echo', arguments: { message: 'two' } }),
    ]);
    expect([first, second].map((said) => JSON.stringify(said.content))).toEqual([
      expect.stringContaining('one'),
      expect.stringContaining('two'),
    ]);
  });
});

it('all servers under one address ask and tell as each of them does', async () => {
  const { client, methods } = await olderClient('/mcp');
  const asked = await client.callTool({ name: 'reference__test_elicitation', arguments: { message: 'Who?' } });
  expect(JSON.stringify(asked.content)).toContain('ada@example.com');
  await client.callTool({ name: 'reference__test_trigger_tool_change', arguments: {} });
  await expect.poll(() => methods.includes('notifications/tools/list_changed'), { timeout: 20_000 }).toBe(true);
});
