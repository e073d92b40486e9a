/**
 * The official clients of both generations, over every transport and in both eras, in front of the reference server:
 * whatever a client does there directly it does through the gateway.
 */
import {
  Client,
  type ClientCapabilities,
  SSEClientTransport,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client';
import { Client as OlderClient } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport as OlderSseTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport as OlderTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';

/** What both generations can do, said alike. */
interface AnyClient {
  readonly tools: () => Promise<string[]>;
  /** The text of the first content, and whether it is an error. */
  readonly call: (
    name: string,
    args?: Record<string, unknown>,
    onProgress?: (progress: number) => void,
  ) => Promise<readonly [text: string, isError: boolean]>;
  readonly read: (uri: string) => Promise<unknown>;
  readonly prompt: (name: string, args?: Record<string, string>) => Promise<unknown>;
  readonly complete: (value: string) => Promise<string[]>;
  readonly listen: (onToolsChanged: () => void) => Promise<unknown>;
  readonly close: () => Promise<void>;
}

type Connect = (path: string) => Promise<AnyClient>;

const capabilities = { sampling: {}, elicitation: {}, roots: {} } satisfies ClientCapabilities;
const info = { name: 'official', version: '1' };
const sampled = { model: 'none', role: 'assistant' as const, content: { type: 'text' as const, text: 'Paris' } };
// It answers whatever form it gets.
const accepted = { action: 'accept' as const, content: { name: 'Alice', color: 'blue', ok: true } };
const roots = { roots: [{ uri: 'file:///a/root', name: 'A root' }] };
const completion = {
  ref: { type: 'ref/prompt' as const, name: 'test_prompt_with_arguments' },
  argument: { name: 'arg1', value: '' },
};

let reference: ReferenceServer;
let gateway: TestGateway;
const open: AnyClient[] = [];

beforeAll(async () => {
  reference = await startReferenceServer();
  gateway = await startTestGateway({
    file: `servers:
  reference: { url: ${reference.url} }
  shared: { url: ${reference.url}, sessions: shared }
`,
  });
});

afterEach(async () => {
  for (const client of open.splice(0)) await client.close();
});

afterAll(async () => {
  await gateway.stop();
  await reference.stop();
});

const at = (path: string) => new URL(`${gateway.url}${path}`);

function older(transportTo: (url: URL) => OlderTransport | OlderSseTransport, end = ''): Connect {
  return async (path) => {
    const client = new OlderClient(info, { capabilities });
    client.setRequestHandler(CreateMessageRequestSchema, () => sampled);
    client.setRequestHandler(ElicitRequestSchema, () => accepted);
    client.setRequestHandler(ListRootsRequestSchema, () => roots);
    // Its own types of a transport are at odds with exactOptionalPropertyTypes.
    await client.connect(transportTo(at(path + end)) as Parameters<OlderClient['connect']>[0]);
    return {
      tools: async () => (await client.listTools()).tools.map(({ name }) => name),
      call: async (name, args = {}, onProgress) => {
        const options =
          onProgress === undefined ? {} : { onprogress: ({ progress }: { progress: number }) => onProgress(progress) };
        return textOf(await client.callTool({ name, arguments: args }, undefined, options));
      },
      read: async (uri) => (await client.readResource({ uri })).contents[0],
      prompt: async (name, args = {}) => (await client.getPrompt({ name, arguments: args })).messages[0]?.content,
      complete: async (value) =>
        (await client.complete({ ...completion, argument: { name: 'arg1', value } })).completion.values,
      listen: async (onToolsChanged) =>
        client.setNotificationHandler(ToolListChangedNotificationSchema, () => onToolsChanged()),
      close: () => client.close(),
    };
  };
}

type Mode = 'legacy' | 'auto' | { readonly pin: '2026-07-28' };

function newer(
  mode: Mode,
  transportTo = (url: URL): StreamableHTTPClientTransport | SSEClientTransport =>
    new StreamableHTTPClientTransport(url),
  end = '',
): Connect {
  return async (path) => {
    const client = new Client(info, { capabilities, versionNegotiation: { mode } });
    client.setRequestHandler('sampling/createMessage', () => sampled);
    client.setRequestHandler('elicitation/create', () => accepted);
    client.setRequestHandler('roots/list', () => roots);
    await client.connect(transportTo(at(path + end)));
    return {
      tools: async () => (await client.listTools()).tools.map(({ name }) => name),
      call: async (name, args = {}, onProgress) => {
        const options =
          onProgress === undefined ? {} : { onprogress: ({ progress }: { progress: number }) => onProgress(progress) };
        return textOf(await client.callTool({ name, arguments: args }, options));
      },
      read: async (uri) => (await client.readResource({ uri })).contents[0],
      prompt: async (name, args = {}) => (await client.getPrompt({ name, arguments: args })).messages[0]?.content,
      complete: async (value) =>
        (await client.complete({ ...completion, argument: { name: 'arg1', value } })).completion.values,
      listen: async (onToolsChanged) => {
        client.setNotificationHandler('notifications/tools/list_changed', () => onToolsChanged());
        if (client.getProtocolEra() === 'modern') await client.listen({ toolsListChanged: true });
      },
      close: () => client.close(),
    };
  };
}

function textOf(result: object): readonly [string, boolean] {
  const { content, isError } = result as { readonly content: readonly { text?: string }[]; readonly isError?: boolean };
  return [content[0]?.text ?? '', isError === true];
}

const clients: Record<string, Connect> = {
  'version 1 over Streamable HTTP': older((url) => new OlderTransport(url)),
  'version 1 over HTTP+SSE': older((url) => new OlderSseTransport(url), '/sse'),
  'version 2 in the session era': newer('legacy'),
  'version 2 over HTTP+SSE': newer('legacy', (url) => new SSEClientTransport(url), '/sse'),
  'version 2, which chooses': newer('auto'),
  'version 2 in the stateless era': newer({ pin: '2026-07-28' }),
};

async function connect(name: string, path: string): Promise<AnyClient> {
  const client = await (clients[name] as Connect)(path);
  open.push(client);
  return client;
}

const served: readonly (readonly [name: string, path: string])[] = [
  ...Object.keys(clients).map((name) => [name, '/mcp/reference'] as const),
  // Over a connection that all share, which speaks the stateless era.
  ['version 1 over Streamable HTTP', '/mcp/shared'],
  ['version 2 in the session era', '/mcp/shared'],
];

describe.each(served)('the official client of %s, at %s', (name, path) => {
  it('calls tools, and hears of their errors and their progress', async () => {
    const client = await connect(name, path);
    expect(await client.tools()).toEqual(expect.arrayContaining(['test_simple_text', 'test_sampling']));
    expect(await client.call('test_simple_text')).toEqual(['This is a simple text response for testing.', false]);
    expect(await client.call('test_error_handling')).toEqual([expect.stringContaining('intentionally'), true]);
    const progress: number[] = [];
    await client.call('test_tool_with_progress', {}, (value) => progress.push(value));
    expect(progress).toEqual([0, 50, 100]);
  });

  it('answers what tools ask of it: its model, its user, its roots, all of them and twice', async () => {
    const client = await connect(name, path);
    const ask = async (what: string) => (await client.call(`test_input_required_result_${what}`))[0];
    expect(await ask('elicitation')).toBe('Hello, Alice!');
    expect(await ask('sampling')).toContain('Paris');
    expect(await ask('list_roots')).toContain('file:///a/root');
    expect(await ask('multiple_inputs')).toBe('All three were answered.');
    expect(await ask('multi_round')).toBe('Both were answered.');
  });

  it('reads resources and prompts, and completes', async () => {
    const client = await connect(name, path);
    expect(await client.read('test://static-text')).toMatchObject({ mimeType: 'text/plain' });
    expect(await client.read('test://template/7/data')).toMatchObject({ text: expect.stringContaining('"7"') });
    expect(await client.prompt('test_prompt_with_arguments', { arg1: 'a', arg2: 'b' })).toMatchObject({
      text: "Prompt with arguments: arg1='a', arg2='b'",
    });
    expect(await client.prompt('test_input_required_result_prompt').catch(String)).toBeDefined();
    expect(await client.complete('pa')).toEqual(['paris', 'park', 'party']);
    await expect(client.read('test://nowhere')).rejects.toThrow();
  });

  it('hears that the tools have changed', async () => {
    const client = await connect(name, path);
    let changes = 0;
    await client.listen(() => {
      changes++;
    });
    const other = await connect('version 1 over Streamable HTTP', '/mcp/reference');
    await expect
      .poll(
        async () => {
          if (changes === 0) await other.call('test_trigger_tool_change');
          return changes;
        },
        { timeout: 20_000, interval: 200 },
      )
      .toBeGreaterThan(0);
  });
});

describe.each(Object.keys(clients).filter((name) => !name.includes('SSE')))(
  'the address of all servers, for %s',
  (name) => {
    it('has the tools of each under its name, and passes on what they ask', async () => {
      const client = await connect(name, '/mcp');
      expect(await client.tools()).toEqual(expect.arrayContaining(['reference__test_simple_text']));
      expect(await client.call('reference__test_simple_text')).toEqual([expect.stringContaining('simple text'), false]);
      const progress: number[] = [];
      await client.call('reference__test_tool_with_progress', {}, (value) => progress.push(value));
      expect(progress).toEqual([0, 50, 100]);
      expect(await client.call('reference__test_input_required_result_elicitation')).toEqual(['Hello, Alice!', false]);
      await expect(client.call('reference__nonsense')).rejects.toThrow();
    });
  },
);
