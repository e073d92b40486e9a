/** The address of all servers: what each of them has, by names that are nobody else's, for both generations and eras. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as OlderClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as OlderTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  LoggingMessageNotificationSchema,
  PromptListChangedNotificationSchema,
  ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { itemsOf, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { ask, type EventStream, initialize, type NativeOptions, request, stateless } from '../support/native-client.ts';
import { library, pages } from '../support/reference/library.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';

let one: ReferenceServer;
let two: ReferenceServer;
let paged: ReferenceServer;
let circle: ReferenceServer;
let hung: Server;
let gateway: TestGateway;
let strict: TestGateway;

beforeAll(async () => {
  [one, two, paged, circle] = await Promise.all([
    startReferenceServer({ extend: library('one') }),
    startReferenceServer({ extend: library('two') }),
    startReferenceServer({ extend: pages('paged', 3) }),
    startReferenceServer({ extend: pages('circle', 2, true) }),
  ]);
  // It takes everything, and answers nothing.
  hung = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(hung, 'listening');
  const hungUrl = `http://127.0.0.1:${(hung.address() as AddressInfo).port}/`;
  const libraries = `
  one: { url: ${one.url} }
  two_b: { url: ${two.url} }`;
  [gateway, strict] = await Promise.all([
    startTestGateway({
      file: `servers:${libraries}
  down: { url: http://127.0.0.1:9/ }
  hung: { url: ${hungUrl} }
`,
    }),
    startTestGateway({
      file: `servers:${libraries}
  paged: { url: ${paged.url} }
  circle: { url: ${circle.url} }
  narrow: { url: ${one.url}, max_concurrency: 1, max_queue: 1 }
`,
      env: productionEnv,
      clock: wallClock(),
    }),
  ]);
});

afterAll(async () => {
  await Promise.all([gateway.stop(), strict.stop()]);
  hung.closeAllConnections();
  hung.close();
  await Promise.all([one.stop(), two.stop(), paged.stop(), circle.stop()]);
});

const inOne = (uri: string) => `talos+one+${uri}`;
const inTwo = (uri: string) => `talos+two.b+${uri}`;
const watched = 'test://watched-resource';
const elicited = { action: 'accept' as const, content: { context: 'a test', username: 'ada', email: 'a@example.com' } };
const address = () => new URL(`${gateway.url}/mcp`);
const within = { timeout: 20_000 };

/** What a client heard: whose log it was and which resources, in order, and which lists have changed. */
interface Heard {
  readonly about: unknown[];
  readonly lists: Set<string>;
}

async function newer(mode: 'legacy' | 'auto') {
  const client = new Client(
    { name: 'newer', version: '1' },
    { capabilities: { elicitation: {} }, versionNegotiation: { mode } },
  );
  client.setRequestHandler('elicitation/create', () => elicited);
  const heard: Heard = { about: [], lists: new Set() };
  client.setNotificationHandler('notifications/message', ({ params }) => void heard.about.push(params.logger));
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => void heard.about.push(params.uri));
  for (const method of ['notifications/prompts/list_changed', 'notifications/resources/list_changed'] as const) {
    client.setNotificationHandler(method, () => void heard.lists.add(method));
  }
  await client.connect(new StreamableHTTPClientTransport(address()));
  onTestFinished(() => client.close());
  return { client, heard };
}

async function older() {
  const client = new OlderClient({ name: 'older', version: '1' }, { capabilities: { elicitation: {} } });
  const heard: Heard = { about: [], lists: new Set() };
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void heard.about.push(params.logger));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void heard.about.push(params.uri));
  for (const schema of [PromptListChangedNotificationSchema, ResourceListChangedNotificationSchema]) {
    client.setNotificationHandler(schema as typeof PromptListChangedNotificationSchema, ({ method }) => {
      heard.lists.add(method);
    });
  }
  // Its own types of a transport are at odds with exactOptionalPropertyTypes.
  await client.connect(new OlderTransport(address()) as Parameters<OlderClient['connect']>[0]);
  onTestFinished(() => client.close());
  return { client, heard };
}

const clients = [
  ['version 1', older],
  ['version 2 in the session era', () => newer('legacy')],
  ['version 2 in the stateless era', () => newer('auto')],
] as const;

describe.each(clients)('the official client of %s', (_, connect) => {
  it('finds the resources of all servers, and reads each as it is called in the list', async () => {
    const { client } = await connect();
    expect(client.getServerCapabilities()).toMatchObject({
      tools: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      prompts: { listChanged: true },
      completions: {},
      logging: {},
    });
    const uris = (await client.listResources()).resources.map(({ uri }) => uri);
    expect(uris).toEqual(expect.arrayContaining([inOne('file:///x'), inTwo('file:///x'), inTwo('test://static-text')]));
    expect(uris.filter((uri) => !/^talos\+(one|two\.b)\+/.test(uri))).toEqual([]);
    for (const [uri, text] of [
      [inOne('file:///x'), 'one'],
      [inTwo('file:///x'), 'two'],
    ] as const) {
      expect((await client.readResource({ uri })).contents).toEqual([{ uri, mimeType: 'text/plain', text }]);
    }
  });

  it('reads by templates, which expand as their server means them', async () => {
    const { client } = await connect();
    const { resourceTemplates } = await client.listResourceTemplates();
    const templates = resourceTemplates.map(({ uriTemplate }) => uriTemplate);
    expect(templates).toEqual([inOne('test://template/{id}/data'), inTwo('test://template/{id}/data')]);
    const uri = String(templates[1]).replace('{id}', 'a%20b');
    const { contents } = await client.readResource({ uri });
    expect(contents).toEqual([{ uri, mimeType: 'application/json', text: expect.stringContaining('"a%20b"') }]);
  });

  it('gets prompts, with what they embed as it can be read here', async () => {
    const { client } = await connect();
    const names = (await client.listPrompts()).prompts.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['one__test_simple_prompt', 'two_b__test_simple_prompt']));
    const said = await client.getPrompt({
      name: 'one__test_prompt_with_arguments',
      arguments: { arg1: 'a', arg2: inTwo('file:///x') },
    });
    expect(said.messages[0]?.content).toMatchObject({
      text: "Prompt with arguments: arg1='a', arg2='talos+two.b+file:///x'",
    });
    const embedding = { name: 'two_b__test_prompt_with_embedded_resource', arguments: { resourceUri: 'file:///x' } };
    const { messages } = await client.getPrompt(embedding);
    expect(messages[0]?.content).toMatchObject({ resource: { uri: inTwo('file:///x') } });
    // What it was shown it may give back.
    const again = { ...embedding, arguments: { resourceUri: inTwo('file:///x') } };
    expect((await client.getPrompt(again)).messages[0]?.content).toMatchObject({
      resource: { uri: inTwo('file:///x') },
    });
  });

  it('completes arguments of prompts and of templates', async () => {
    const { client } = await connect();
    const argument = { name: 'arg1', value: 'pa' };
    for (const ref of [
      { type: 'ref/prompt' as const, name: 'one__test_prompt_with_arguments' },
      { type: 'ref/resource' as const, uri: inTwo('test://template/{id}/data') },
    ]) {
      expect((await client.complete({ ref, argument })).completion.values).toEqual(['paris', 'park', 'party']);
    }
    await expect(
      client.complete({ ref: { type: 'ref/prompt', name: 'test_simple_prompt' }, argument }),
    ).rejects.toThrow('Unknown prompt');
  });

  it('is shown resources by tools, can read them, and gives them to tools', async () => {
    const { client } = await connect();
    const uri = inTwo('file:///x');
    const { content } = await client.callTool({ name: 'two_b__link', arguments: {} });
    expect(content).toMatchObject([
      { type: 'resource_link', uri },
      { type: 'resource', resource: { uri, text: 'two' } },
      { type: 'text', text: 'file:///x' },
    ]);
    expect((await client.readResource({ uri })).contents).toMatchObject([{ text: 'two' }]);
    const args = { uri, more: { deep: [uri, inOne('file:///x'), `see ${uri}`, 1] } };
    const given = await client.callTool({ name: 'two_b__given', arguments: args });
    const said = { uri: 'file:///x', more: { deep: ['file:///x', inOne('file:///x'), `see ${uri}`, 1] } };
    expect(JSON.parse((given.content as { text: string }[])[0]?.text ?? '')).toEqual(said);
  });

  it('learns what resources are called here when it names one otherwise', async () => {
    const { client } = await connect();
    await expect(client.readResource({ uri: 'file:///x' })).rejects.toThrow('talos+<server>+<its URI>');
    await expect(client.readResource({ uri: inOne('file:///none') })).rejects.toThrow();
  });
});

describe.each(clients.slice(0, 2))('%s in a session', (_, connect) => {
  it('hears of the resources that it subscribes to, and of no others', async () => {
    const { client, heard } = await connect();
    await client.subscribeResource({ uri: inOne(watched) });
    await client.subscribeResource({ uri: inTwo('file:///x') });
    one.updated(watched);
    two.updated('file:///x');
    await expect.poll(() => heard.about.toSorted(), within).toEqual([inOne(watched), inTwo('file:///x')].sort());
    expect(await client.unsubscribeResource({ uri: inOne(watched) })).toEqual({});
    await expect(client.subscribeResource({ uri: watched })).rejects.toThrow('Unknown resource');
  });

  it('hears the log of every server at the level that it sets, be it before or after the server was called', async () => {
    const { client, heard } = await connect();
    await client.callTool({ name: 'one__test_simple_text', arguments: {} });
    expect(await client.setLoggingLevel('debug')).toEqual({});
    for (const name of ['one__test_logging_tool', 'two_b__test_logging_tool']) {
      await client.callTool({ name, arguments: {} });
    }
    await expect.poll(() => heard.about, within).toEqual(['one', 'two_b']);
    await client.setLoggingLevel('error');
    await client.callTool({ name: 'one__test_logging_tool', arguments: {} });
    expect(heard.about).toHaveLength(2);
  });

  it('hears that lists have changed, from servers that it has never called too', async () => {
    const { client, heard } = await connect();
    await client.callTool({ name: 'one__test_trigger_prompt_change', arguments: {} });
    two.resourcesChanged();
    await expect
      .poll(() => [...heard.lists].sort(), within)
      .toEqual(['notifications/prompts/list_changed', 'notifications/resources/list_changed']);
  });

  it('opens no session with a server by looking at lists', async () => {
    const { client } = await connect();
    const before = two.sessions();
    await Promise.all([
      client.listTools(),
      client.listResources(),
      client.listResourceTemplates(),
      client.listPrompts(),
    ]);
    expect(two.sessions()).toBeLessThanOrEqual(before);
  });

  it('is told when a server has lost its part of the session, and watches again when it comes back', async () => {
    const { client, heard } = await connect();
    const uri = inOne('test://static-text');
    await client.setLoggingLevel('info');
    await client.subscribeResource({ uri });
    const isWatched = () => one.subscribed.filter((each) => each === 'test://static-text').length;
    const before = isWatched();
    await one.forget();
    await expect.poll(() => heard.about, within).toEqual([uri]);
    await client.readResource({ uri });
    expect(isWatched()).toBe(before + 1);
    one.updated('test://static-text');
    await expect.poll(() => heard.about, within).toEqual([uri, uri]);
    await client.callTool({ name: 'one__test_logging_tool', arguments: {} });
    await expect.poll(() => heard.about.at(-1), within).toBe('one');
  });
});

describe('without a session', () => {
  it('a prompt that needs input gets it', async () => {
    const { client } = await newer('auto');
    const { messages } = await client.getPrompt({ name: 'two_b__test_input_required_result_prompt' });
    expect(messages[0]?.content).toMatchObject({ text: 'In this context: a test' });
  });

  it('whoever listens hears of lists of all servers, and of resources by their names here', async () => {
    const { client, heard } = await newer('auto');
    const resourceSubscriptions = [inOne(watched), inTwo('file:///x'), 'talos+down+file:///x'];
    const listening = await client.listen({
      promptsListChanged: true,
      resourcesListChanged: true,
      resourceSubscriptions,
    });
    expect(listening.honoredFilter).toEqual({
      promptsListChanged: true,
      resourcesListChanged: true,
      resourceSubscriptions: [inOne(watched), inTwo('file:///x')],
    });
    one.updated(watched);
    one.updated('file:///x');
    two.updated('file:///x');
    two.resourcesChanged();
    await client.callTool({ name: 'one__test_trigger_prompt_change', arguments: {} });
    await expect
      .poll(() => [...heard.about, ...heard.lists].sort(), within)
      .toEqual(
        [
          inOne(watched),
          inTwo('file:///x'),
          'notifications/prompts/list_changed',
          'notifications/resources/list_changed',
        ].sort(),
      );
    await listening.close();
    const listens = (await itemsOf(gateway, 'limit=100')).filter(
      ({ meta }) => (meta as JsonObject)['rpc_method'] === 'subscriptions/listen',
    );
    expect(listens.slice(0, 4).map(({ meta }) => (meta as JsonObject)['server_id'])).toEqual(
      expect.arrayContaining(['one', 'two_b', 'down']),
    );
  });
});

const errorOf = (message: JsonObject) => message['error'] as JsonObject;
const resultOf = (message: JsonObject) => message['result'] as JsonObject;
const tokenFor = (scope: string, sub = 'did:talos:aggregate') => tokenWith({ scope, sub });

/** One message to the gateway in production, answered whole. */
async function sent(
  method: string,
  params: JsonObject,
  options: NativeOptions & { readonly to?: TestGateway; readonly isStateless?: boolean } = {},
): Promise<EventStream> {
  const { to = strict, isStateless, ...rest } = options;
  const message = isStateless ? stateless(method, params) : { message: request(method, params), headers: {} };
  const answer = await ask(to.url, { path: '/mcp', ...rest, ...message });
  await answer.over;
  return answer;
}

async function listed(method: string, token: string, params: JsonObject = {}): Promise<JsonObject> {
  return resultOf((await sent(method, params, { token })).body());
}

const namesIn = (list: JsonValue | undefined, key: string) => (list as JsonObject[]).map((item) => item[key]);

describe('a caller', () => {
  it('sees what one server has when that is what may be used', async () => {
    const token = tokenFor('tool:two_b');
    const { resources } = (await listed('resources/list', token)) as { resources?: JsonValue };
    expect(namesIn(resources, 'uri')).toContain(inTwo('file:///x'));
    expect(JSON.stringify(resources)).not.toContain('talos+one+');
    const { prompts } = (await listed('prompts/list', token)) as { prompts?: JsonValue };
    expect(namesIn(prompts, 'name').every((name) => String(name).startsWith('two_b__'))).toBe(true);
  });

  it('without a right to resources and prompts is shown and told of none', async () => {
    const token = tokenFor('tool:one/method:test_simple_text');
    expect(await listed('resources/list', token)).toEqual({ resources: [] });
    expect(await listed('resources/templates/list', token)).toEqual({ resourceTemplates: [] });
    expect(await listed('prompts/list', token)).toEqual({ prompts: [] });
    const { answer, ...session } = await initialize(strict.url, { path: '/mcp', token });
    expect(resultOf(answer.body())['capabilities']).toEqual({ tools: { listChanged: true } });
    for (const [method, params] of [
      ['resources/read', { uri: inOne('file:///x') }],
      ['resources/subscribe', { uri: inOne('file:///x') }],
      ['prompts/get', { name: 'one__test_simple_prompt' }],
      ['logging/setLevel', { level: 'debug' }],
    ] as const) {
      const refused = await sent(method, params, session);
      expect(errorOf(refused.body())).toMatchObject({
        data: { code: 'TALOS_DENIED', denial_reason: 'SCOPE_MISMATCH' },
      });
      expect(refused.headers.get('x-talos-audit-ref')).not.toBeNull();
    }
  });

  it('with a right to one resource is shown that one', async () => {
    const scope =
      'tool:one/method:rpc.resources.list tool:one/method:rpc.resources.read/resource:file%3A%2F%2F%2Fx tool:one/method:rpc.resources.templates.list';
    const token = tokenFor(scope);
    expect(namesIn((await listed('resources/list', token))['resources'], 'uri')).toEqual([inOne('file:///x')]);
    expect(await listed('resources/templates/list', token)).toEqual({ resourceTemplates: [] });
    const read = await sent('resources/read', { uri: inOne('file:///x') }, { token });
    expect(resultOf(read.body())).toMatchObject({ contents: [{ text: 'one' }] });
    const other = await sent('resources/read', { uri: inOne('test://static-text') }, { token });
    expect(errorOf(other.body())).toMatchObject({ data: { code: 'TALOS_DENIED' } });
  });

  it.each(['/mcp', '/mcp/one'])('with a right to watch one resource hears of that one at %s', async (path) => {
    const named = (uri: string) => (path === '/mcp' ? inOne(uri) : uri);
    const to = (method: string) => `tool:one/method:rpc.resources.${method}/resource:file%3A%2F%2F%2Fx`;
    const token = tokenFor(`${to('subscribe')} ${to('read')}`);
    const { answer: _, ...session } = await initialize(strict.url, { path, token });
    const stream = await ask(strict.url, session);
    const subscribed = await sent('resources/subscribe', { uri: named('file:///x') }, session);
    expect(resultOf(subscribed.body())).toEqual({});
    const other = await sent('resources/subscribe', { uri: named(watched) }, session);
    expect(errorOf(other.body())).toMatchObject({ data: { code: 'TALOS_DENIED' } });
    one.updated(watched);
    one.updated('file:///x');
    expect(await stream.said('notifications/resources/updated')).toMatchObject({ params: { uri: named('file:///x') } });
    stream.cut();
  });

  it.each<[string, JsonObject]>([
    ['resources/list', { uri: 'file:///x' }],
    ['resources/templates/list', { uri: 'file:///x' }],
    ['prompts/list', { name: 'file:///x' }],
    ['prompts/get', { name: 'test_simple_prompt', uri: 'file:///x' }],
    ['completion/complete', { uri: 'file:///x', ref: { type: 'ref/resource', uri: 'test://template/{id}/data' } }],
    ['completion/complete', { name: 'file:///x', ref: { type: 'ref/prompt', name: 'test_simple_prompt' } }],
  ])(
    'with a right to one resource has no other because it is named beside what is asked: %s %o',
    async (method, params) => {
      const token = tokenFor('tool:one/method:*/resource:file%3A%2F%2F%2Fx');
      const argument = { name: 'id', value: '1' };
      const answer = await sent(method, { ...params, argument }, { token, path: '/mcp/one' });
      expect(errorOf(answer.body())).toMatchObject({ data: { denial_reason: 'SCOPE_MISMATCH' } });
    },
  );

  it.each<[string, JsonObject]>([
    ['resources/list', { uri: 'file:///x' }],
    ['prompts/list', { more: { path: '/x' } }],
    ['prompts/get', { name: 'test_simple_prompt', file: '/x' }],
    ['completion/complete', { uri: 'file:///x', ref: { type: 'ref/prompt', name: 'test_simple_prompt' } }],
  ])(
    'with a right to some paths is not inside them because of a path that nobody heeds: %s %o',
    async (method, params) => {
      const token = tokenWith({ scope: 'tool:one', constraints: { paths: ['/x'] } });
      const argument = { name: 'id', value: '1' };
      const answer = await sent(method, { ...params, argument }, { token, path: '/mcp/one' });
      expect(errorOf(answer.body())).toMatchObject({ data: { code: 'TALOS_DENIED' } });
      const read = await sent('resources/read', { uri: 'file:///x' }, { token, path: '/mcp/one' });
      expect(resultOf(read.body())).toHaveProperty('contents');
    },
  );

  it('cannot tell a server that is not there from one that is somebody else’s', async () => {
    const token = tokenFor('tool:one');
    const answers: JsonObject[] = [];
    for (const server of ['two.b', 'nobody']) {
      const read = await sent('resources/read', { uri: `talos+${server}+file:///x` }, { token });
      const {
        request_id: _,
        audit_ref: __,
        ...data
      } = errorOf(read.body())['data'] as JsonObject & {
        request_id?: JsonValue;
        audit_ref?: JsonValue;
      };
      answers.push({ ...errorOf(read.body()), data });
      const prompt = await sent('prompts/get', { name: `${server}__test_simple_prompt` }, { token });
      expect(errorOf(prompt.body())).toMatchObject({ code: -32_602 });
    }
    expect(answers[0]).toMatchObject({ data: { code: 'TALOS_DENIED' } });
    expect(answers[1]).toEqual(answers[0]);
    const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { body } = await strict.send('/api/events?limit=10', { token: reader });
    const denied = (body['items'] as unknown as JsonObject[]).filter(({ outcome }) => outcome === 'DENY').slice(0, 2);
    expect(denied.map(({ meta }) => (meta as JsonObject)['server_id']).sort()).toEqual(['nobody', 'two_b']);
    expect(denied.map(({ http }) => (http as JsonObject)['path'])).toEqual(['/mcp', '/mcp']);
  });

  it('has the same records as at the address of the server, with its own URI', async () => {
    const token = tokenFor('tool:one');
    await sent('resources/read', { uri: inOne('file:///x') }, { token });
    await sent('resources/read', { uri: 'file:///x' }, { token, path: '/mcp/one' });
    await sent('prompts/get', { name: 'one__test_simple_prompt' }, { token });
    await sent('prompts/get', { name: 'test_simple_prompt' }, { token, path: '/mcp/one' });
    const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { body } = await strict.send('/api/events?limit=4', { token: reader });
    const items = body['items'] as unknown as JsonObject[];
    const hashes = items.map(({ meta }) => (meta as JsonObject)['request_hash']);
    expect([hashes[0], hashes[2]]).toEqual([hashes[1], hashes[3]]);
    expect(items.map(({ meta }) => (meta as JsonObject)['rpc_method'])).toEqual([
      ...['prompts/get', 'prompts/get'],
      ...['resources/read', 'resources/read'],
    ]);
    expect(items.map(({ http }) => (http as JsonObject)['path'])).toEqual([
      ...['/mcp/{server_id}', '/mcp', '/mcp/{server_id}', '/mcp'],
    ]);
  });

  it('watches all again that it watched, at a server that takes one thing at a time', async () => {
    const token = tokenFor('tool:narrow');
    const { answer: _, ...session } = await initialize(strict.url, { path: '/mcp', token });
    const uris = Array.from({ length: 6 }, (__, n) => `test://narrow/${n}`);
    const named = (uri: string) => ({ uri: `talos+narrow+${uri}` });
    for (const uri of uris) await sent('resources/subscribe', named(uri), session);
    const watched = () => one.subscribed.filter((uri) => uri.startsWith('test://narrow/'));
    expect(watched()).toEqual(uris);
    await one.forget();
    await sent('resources/unsubscribe', named('test://narrow/5'), session);
    await expect
      .poll(async () => {
        await sent('resources/read', named('file:///x'), session);
        return watched().slice(uris.length);
      }, within)
      .toEqual(uris.slice(0, 5));
  });

  it('is nobody else: its session is not there for another one', async () => {
    const { answer: _, ...session } = await initialize(strict.url, { path: '/mcp', token: tokenFor('tool:one') });
    const read = (token: string, path = '/mcp') =>
      sent('resources/read', { uri: inOne('file:///x') }, { ...session, token, path });
    expect(resultOf((await read(tokenFor('tool:one'))).body())).toHaveProperty('contents');
    const other = await read(tokenFor('tool:one', 'did:talos:other'));
    expect([other.status, errorOf(other.body())['code']]).toEqual([404, -32_001]);
    expect((await read(tokenFor('tool:one'), '/mcp/one')).status).toBe(404);
  });
});

describe('what names nothing here is refused before any server hears of it', () => {
  it.each<[string, JsonValue]>([
    ['the URI that the server knows', 'file:///x'],
    ['nothing', ''],
    ['no URI', 'talos+one+'],
    ['no server', 'talos++file:///x'],
    ['one plus too few', 'talos+one'],
    ['an underscore in the scheme', 'talos+two_b+file:///x'],
    ['capitals', 'TALOS+ONE+file:///x'],
    ['a blank before it', ` ${inOne('file:///x')}`],
    ['a server that cannot be one', `talos+${'a'.repeat(64)}+file:///x`],
    ['a number', 1],
    ['no text', null],
  ])('a resource by %s', async (_, uri) => {
    const token = tokenFor('tool:*');
    const answer = await sent('resources/read', uri === null ? {} : { uri }, { token });
    expect(errorOf(answer.body())).toMatchObject({
      code: -32_602,
      message: expect.stringContaining('talos+<server>+'),
    });
    const { answer: __, ...session } = await initialize(strict.url, { path: '/mcp', token });
    expect(errorOf((await sent('resources/subscribe', { uri }, session)).body())).toMatchObject({ code: -32_602 });
    const ref = { type: 'ref/resource', uri };
    const completed = await sent('completion/complete', { ref, argument: { name: 'id', value: '' } }, { token });
    expect(errorOf(completed.body())).toMatchObject({ code: -32_602 });
    const notifications = { resourceSubscriptions: [uri] };
    const listening = await sent('subscriptions/listen', { notifications }, { token, isStateless: true });
    expect(errorOf(listening.body())).toMatchObject({ code: -32_602 });
  });

  it.each<[string, JsonObject]>([
    ['no server', { name: 'test_simple_prompt' }],
    ['another server', { name: 'nobody__test_simple_prompt' }],
    ['no name', {}],
    ['a name that is none', { name: 1 }],
  ])('a prompt with %s', async (_, params) => {
    const answer = await sent('prompts/get', params, { token: tokenFor('tool:*') });
    expect(errorOf(answer.body())).toMatchObject({ code: -32_602, message: expect.stringContaining('<server>__') });
  });

  it.each<[string, JsonValue]>([
    ['nothing', null],
    ['a text', 'one'],
    ['a type that is none', { type: 'ref/tool', name: 'one__x' }],
    ['no type', { name: 'one__test_simple_prompt' }],
  ])('a completion for %s', async (_, ref) => {
    const params = { ref, argument: { name: 'a', value: '' } };
    expect(errorOf((await sent('completion/complete', params, { token: tokenFor('tool:*') })).body())).toMatchObject({
      code: -32_602,
    });
  });

  it.each<JsonValue>(['loud', 1, null])('the level %j', async (level) => {
    const { answer: _, ...session } = await initialize(strict.url, { path: '/mcp', token: tokenFor('tool:*') });
    expect(errorOf((await sent('logging/setLevel', { level }, session)).body())).toMatchObject({ code: -32_602 });
  });

  it('what lasts, outside of a session', async () => {
    for (const method of ['logging/setLevel', 'resources/subscribe', 'resources/unsubscribe']) {
      const answer = await sent(method, { uri: inOne('file:///x'), level: 'debug' }, { token: tokenFor('tool:*') });
      expect(errorOf(answer.body())['code']).toBe(-32_601);
    }
  });

  it('listening to a resource needs the right to it', async () => {
    const notifications = { resourceSubscriptions: [inOne('file:///x'), inTwo('file:///x')] };
    const token = tokenFor('tool:one');
    const answer = await sent('subscriptions/listen', { notifications }, { token, isStateless: true });
    expect(errorOf(answer.body())).toMatchObject({ data: { code: 'TALOS_DENIED' } });
  });
});

describe('a list of many pages', () => {
  async function allPages(token: string): Promise<{ readonly uris: unknown[]; readonly pages: number }> {
    const uris: unknown[] = [];
    for (let page = 0, cursor: JsonValue | undefined; page === 0 || cursor !== undefined; page++) {
      const result = await listed('resources/list', token, cursor === undefined ? {} : { cursor });
      uris.push(...namesIn(result['resources'], 'uri'));
      cursor = result['nextCursor'];
      if (cursor === undefined) return { uris, pages: page + 1 };
    }
    return { uris, pages: 0 };
  }

  it('has each resource once, and goes on where there are more', async () => {
    const { uris, pages: count } = await allPages(tokenFor('tool:one tool:paged'));
    expect(count).toBe(3);
    expect(uris.filter((uri) => String(uri).startsWith('talos+paged+'))).toEqual(
      [0, 1, 2].map((page) => `talos+paged+page://paged/${page}`),
    );
    expect(uris.filter((uri) => uri === inOne('file:///x'))).toHaveLength(1);
  });

  it('ends, though a server leads in a circle', async () => {
    const token = tokenFor('tool:circle');
    const cursor = (await listed('resources/list', token))['nextCursor'] ?? null;
    const last = await listed('resources/list', token, { cursor });
    expect([namesIn(last['resources'], 'uri'), last['nextCursor']]).toEqual([
      ['talos+circle+page://circle/1'],
      undefined,
    ]);
  });

  const cursorOf = (value: JsonValue) => Buffer.from(JSON.stringify(value)).toString('base64url');

  it.each<[string, JsonValue]>([
    ['no text', 1],
    ['no base64', 'a cursor'],
    ['no JSON', Buffer.from('x').toString('base64url')],
    ['a list', cursorOf([])],
    ['no servers', cursorOf({ pages: 1 })],
    ['no pages', cursorOf({ at: {} })],
  ])('is refused at a cursor that is %s', async (_, cursor) => {
    const answer = await sent('resources/list', { cursor }, { token: tokenFor('tool:*') });
    expect(errorOf(answer.body())).toMatchObject({ code: -32_602, message: expect.stringContaining('cursor') });
  });

  it('at a cursor that takes for ever holds up nobody who begins', async () => {
    const cursor = cursorOf({ pages: 1, at: { paged: 'never' } });
    expect(await listed('resources/list', tokenFor('tool:paged'), { cursor })).toEqual({ resources: [] });
    const { resources } = await listed('resources/list', tokenFor('tool:paged', 'did:talos:other'));
    expect(namesIn(resources, 'uri')).toEqual(['talos+paged+page://paged/0']);
  });

  it('shows nothing of a server that a cursor was made up for', async () => {
    const cursor = cursorOf({ pages: 1, at: { paged: '1', nobody: '1' } });
    expect(await listed('resources/list', tokenFor('tool:one'), { cursor })).toEqual({ resources: [] });
    expect(await listed('resources/list', tokenFor('tool:paged'), { cursor })).toMatchObject({
      resources: [{ uri: 'talos+paged+page://paged/1' }],
    });
  });
});
