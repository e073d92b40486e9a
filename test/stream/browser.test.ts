/** A page of another origin in a real browser: its EventSource with a ticket, and the client package as it is built. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { complaintsOf, describeInBrowser, launchBrowser } from '../support/browser.ts';
import { productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { liveToken } from '../support/live-token.ts';
import { report } from '../support/stream.ts';

const root = resolve(import.meta.dirname, '../..');
const wait = { timeout: 20_000 };
const writer = liveToken({ scope: 'tool:gateway/method:events.write' });
const reader = liveToken({ scope: 'tool:gateway/method:events.read' });

// What the page calls comes from the test, as it would from the backend of a dashboard.
const page = `<!doctype html><title>Streams</title><link rel="icon" href="data:,"><script type="module">
  import { openStream } from './index.js';
  globalThis.seen = { source: [], client: [], states: [] };
  globalThis.watchSource = async (url) => {
    const source = new EventSource(url + '/events?event_type=shown&ticket=' + (await ticketFor()));
    source.addEventListener('meta', () => seen.states.push('source'));
    source.addEventListener('audit_event', ({ data, lastEventId }) => {
      const { event_id, cursor } = JSON.parse(data);
      if (cursor === lastEventId) seen.source.push(event_id);
    });
    return source;
  };
  globalThis.watchClient = async (url) => {
    const onStatus = ({ state }) => seen.states.push(state);
    const stream = openStream({ urls: [url], ticket: ticketFor, filters: { event_type: 'shown' }, onStatus });
    for await (const { event } of stream) seen.client.push(event.event_id);
  };
  globalThis.verifyClient = async (url, capability, after) => {
    const stream = openStream({ urls: [url], capability, after, filters: { event_type: 'shown' }, verify: true });
    const verdicts = [];
    for await (const { verification } of stream) {
      verdicts.push(verification);
      if (verdicts.length === 3) return verdicts;
    }
  };
</script>`;

describeInBrowser('in a browser', () => {
  let server: Server;
  let gateway: TestGateway;
  let browser: Browser;
  let tab: Page;
  let complaints: readonly string[];

  beforeAll(async () => {
    server = await serve(await compile());
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const env = { ...productionEnv, TALOS_CORS_ORIGINS: origin };
    const servers = { tested: 'http://127.0.0.1:9/' };
    [gateway, browser] = await Promise.all([startTestGateway({ env, servers }), launchBrowser()]);
    tab = await browser.newPage();
    complaints = complaintsOf(tab);
    await tab.exposeFunction('ticketFor', async () => {
      const { body } = await gateway.send('/api/events/ticket', { method: 'POST', capability: reader });
      return String(body['ticket']);
    });
    await tab.goto(origin);
    await tab.waitForFunction(() => 'watchClient' in globalThis);
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
    await gateway?.stop();
  });

  const seen = () => tab.evaluate<{ source: string[]; client: string[]; states: string[] }>('globalThis.seen');

  it('EventSource and the client get the same, each with a ticket', async () => {
    const url = JSON.stringify(gateway.url);
    await tab.evaluate(`void watchSource(${url}); void watchClient(${url}); undefined`);
    await expect.poll(async () => (await seen()).states.toSorted(), wait).toEqual(['connected', 'source']);
    const shown = Array.from({ length: 3 }, (_, n) => ({ event_type: 'shown', action: `größer ${n}` }));
    const [first = ''] = await report(gateway, [{ event_type: 'hidden' }, ...shown], writer);
    const { body } = await gateway.send(`/api/events?event_type=shown&after_cursor=${first}`, { token: reader });
    const ids = (body['items'] as unknown as { event_id: string }[]).map(({ event_id }) => event_id);
    expect(ids).toHaveLength(3);
    await expect.poll(seen, wait).toMatchObject({ source: ids, client: ids });
    const verified = tab.evaluate(`verifyClient(${url}, ${JSON.stringify(reader)}, ${JSON.stringify(first)})`);
    expect(await verified).toEqual(['intact', 'intact', 'intact']);
  });

  it('without a word of the browser', () => {
    expect(complaints).toEqual([]);
  });
});

/** The files of the package, as they are packed. */
async function compile(): Promise<ReadonlyMap<string, Buffer>> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-stream-client-'));
  try {
    const program = join(root, 'node_modules/typescript/bin/tsc');
    const options = ['--project', join(root, 'packages/stream-client/tsconfig.json'), '--outDir', folder];
    await promisify(execFile)(process.execPath, [program, ...options]);
    const names = (await readdir(folder)).filter((name) => name.endsWith('.js'));
    return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)));
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function serve(files: ReadonlyMap<string, Buffer>): Promise<Server> {
  const server = createServer((request, response) => {
    const name = (request.url ?? '/').slice(1);
    const body = name === '' ? page : files.get(name);
    const type = name === '' ? 'text/html' : 'text/javascript';
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': `${type}; charset=utf-8` }).end(body);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}
