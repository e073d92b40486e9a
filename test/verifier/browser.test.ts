/** The verifier as an outsider runs it: compiled, from a web server, in a browser, on receipts of a real gateway. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import type { Check, ReceiptReport } from '../../verifier/index.ts';
import { complaintsOf, describeInBrowser, launchBrowser } from '../support/browser.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { logKey } from './log.ts';

const root = resolve(import.meta.dirname, '../..');
const page = `<!doctype html><link rel="icon" href="data:,"><script type="module">
  import { trust, verifyReceipt } from './index.js';
  globalThis.verify = async (receipt, vkeys) => verifyReceipt(receipt, await trust({ vkeys }));
</script>`;

/** The module's files, as the build makes them. */
async function compile(): Promise<ReadonlyMap<string, Buffer>> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-verifier-'));
  try {
    const program = join(root, 'node_modules/typescript/bin/tsc');
    const options = [
      '--ignoreConfig',
      '--module',
      'nodenext',
      '--target',
      'es2024',
      '--rewriteRelativeImportExtensions',
    ];
    const files = ['--outDir', folder, join(root, 'verifier/index.ts')];
    await promisify(execFile)(process.execPath, [program, ...options, ...files], { cwd: root });
    const names = await readdir(folder);
    return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Nothing but the page and the module. */
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

declare global {
  // What the page above offers.
  var verify: (receipt: string, vkeys: readonly string[]) => Promise<ReceiptReport>;
}

describeInBrowser('in a browser', () => {
  let gateway: TestGateway;
  let server: Server;
  let browser: Browser;
  let tab: Page;
  let complaints: readonly string[];
  let keys: string[];
  let eventId: string;
  let receipt: JsonObject & { record: string; proof: string[]; checkpoint: string };

  beforeAll(async () => {
    [gateway, server, browser] = await Promise.all([startTestGateway(), compile().then(serve), launchBrowser()]);
    for (let n = 0; n < 5; n++) {
      const json = { event_type: 'deploy', actor: 'ci', action: 'start', metadata: { n, note: 'größer als ∑' } };
      const { body } = await gateway.send('/api/events', { json });
      if (n === 2) eventId = String(body['event_id']);
    }
    receipt = (await gateway.send(`/api/events/${eventId}/proof`)).body as unknown as typeof receipt;
    keys = (await gateway.send('/log/keys')).body['keys'] as unknown as string[];
    tab = await browser.newPage();
    complaints = complaintsOf(tab);
    await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await tab.waitForFunction(() => 'verify' in globalThis);
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
    await gateway?.stop();
  });

  const verify = (given: string | JsonObject, vkeys: readonly string[] = keys) => {
    const text = typeof given === 'string' ? given : JSON.stringify(given);
    return tab.evaluate(([input, trusted]) => globalThis.verify(input, trusted), [text, vkeys] as const);
  };
  const failed = ({ checks }: ReceiptReport) => checks.filter(({ ok }: Check) => !ok).map(({ name }) => name);
  const changed = (change: Partial<typeof receipt>) => ({ ...receipt, ...change }) as JsonObject;

  it('a receipt verifies, and tells what was proven', async () => {
    const report = await verify(receipt);
    expect(failed(report)).toEqual([]);
    expect(report).toMatchObject({ ok: true, leafIndex: 2, record: { event_id: eventId, meta: { n: 2 } } });
  });

  it('so does its form as a C2SP tlog-proof', async () => {
    const { text } = await gateway.send(`/api/events/${eventId}/proof`, { headers: { accept: 'text/plain' } });
    expect(text).toMatch(/^c2sp\.org\/tlog-proof@v1\n/);
    expect(await verify(text)).toMatchObject({ ok: true, leafIndex: 2 });
  });

  it('a record with any one bit turned over does not', async () => {
    for (let at = 0; at < receipt.record.length; at += 13) {
      const report = await verify(changed({ record: flipped(receipt.record, at) }));
      expect(report.ok, `character ${at}`).toBe(false);
      expect(failed(report)).toContain('inclusion');
      expect(report.record).toBeUndefined();
    }
  });

  it('nor one whose proof has a bit turned over, is shorter or longer', async () => {
    const { proof } = receipt;
    expect(proof.length).toBeGreaterThan(0);
    const wrong = [
      ...proof.map((_, at) => proof.map((hash, other) => (other === at ? otherHash(hash) : hash))),
      proof.slice(1),
      [...proof, proof[0] as string],
    ];
    for (const each of wrong) expect(failed(await verify(changed({ proof: each })))).toEqual(['inclusion']);
  });

  it('nor one whose signature has a bit turned over', async () => {
    const { checkpoint } = receipt;
    const start = checkpoint.lastIndexOf(' ') + 1;
    const signature = Buffer.from(checkpoint.slice(start), 'base64');
    for (const at of [4, 20, 35, 36, 50, 67]) {
      const bytes = Buffer.from(signature);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      const report = await verify(
        changed({ checkpoint: `${checkpoint.slice(0, start)}${bytes.toString('base64')}\n` }),
      );
      expect(failed(report), `byte ${at}`).toEqual(['log_signature']);
    }
  });

  it('nor one whose checkpoint tells another size or root', async () => {
    const lines = receipt.checkpoint.split('\n');
    for (const [line, text] of [
      [1, String(Number(lines[1]) + 1)],
      [2, otherHash(lines[2] as string)],
    ] as const) {
      const report = await verify(changed({ checkpoint: lines.with(line, text).join('\n') }));
      expect(failed(report)).toEqual(['log_signature', 'inclusion']);
    }
  });

  it('nor one that is judged by the key of another log', async () => {
    expect(failed(await verify(receipt, [logKey]))).toEqual(['log_signature']);
    await expect(verify(receipt, [])).rejects.toThrow('There is no key of a log.');
    await expect(verify(receipt, [`${keys[0]}A`])).rejects.toThrow('Refusal');
  });

  it('and what is no receipt at all is refused', async () => {
    for (const text of ['', 'null', '{}', '<html>', JSON.stringify(receipt).slice(0, -2)]) {
      expect(failed(await verify(text))).toEqual(['format']);
    }
  });

  it('without a word of the browser', () => {
    expect(complaints).toEqual([]);
  });
});

function flipped(text: string, at: number): string {
  const bytes = Buffer.from(text.slice(at, at + 1));
  bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
  return text.slice(0, at) + bytes.toString('latin1') + text.slice(at + 1);
}

function otherHash(hash: string): string {
  const bytes = Buffer.from(hash, 'base64');
  bytes.writeUInt8(bytes.readUInt8(31) ^ 1, 31);
  return bytes.toString('base64');
}
