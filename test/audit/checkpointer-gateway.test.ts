/** The gateway as a whole: what it shows of its log, and what it does when the database is no longer the one it signed. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { verifierOfKey } from '../../src/core/cosignature.ts';
import { openNote, parseNote } from '../../src/core/note.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';
import { type Answer, eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { cleanUp, later } from '../support/log-fixture.ts';
import { rollBack, startWitness } from '../support/log-signer.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-signing-'));
  later(() => rm(folder, { recursive: true }));
});
afterEach(cleanUp);

async function start(env: Readonly<Record<string, string>> = {}): Promise<TestGateway> {
  const gateway = await startTestGateway({ env: { TALOS_DATA_DIR: folder, ...env } });
  later(() => gateway.stop());
  return gateway;
}

const submit = (gateway: TestGateway): Promise<Answer> =>
  gateway.send('/api/events', { json: { event_type: 'tested', actor: 'a', action: 'b', resource: 'c' } });

const sizeOf = (note: string) => parseCheckpoint(parseNote(note).text).size;

describe('a gateway with a witness', () => {
  it('shows the cosigned checkpoint, and takes a key that was made before', async () => {
    const { skey, vkey } = generateNoteKey('gateway.example/log');
    const secret = JSON.stringify([process.execPath, '-p', 'process.argv[1]', skey]);
    const witness = await startWitness({ logs: [vkey] });
    const anchor = join(folder, 'anchor');
    const gateway = await start({
      TALOS_LOG_KEY_COMMAND: secret,
      TALOS_LOG_WITNESSES: witness.entry,
      TALOS_LOG_ANCHOR_FILES: anchor,
      TALOS_LOG_ANCHOR_INTERVAL_SECONDS: '0',
    });
    const verifiers = [verifierOfKey(vkey), verifierOfKey(witness.vkey)];
    expect((await submit(gateway)).status).toBe(200);
    const note = await eventually(async () => {
      const { text } = await gateway.send('/log/checkpoint');
      return sizeOf(text) >= 1 && openNote(text, verifiers).verified.length === 2 ? text : undefined;
    });
    await eventually(async () => (await readFile(anchor, 'utf8').catch(() => '')).includes(JSON.stringify(note)));
    expect((await gateway.send('/log/keys')).body).toEqual({ keys: [vkey], retired: [] });
    expect((await gateway.send('/metrics')).text).toMatch(/^gateway_log_forked 0$/m);
    expect(gateway.logText()).not.toContain(skey);
  });

  it.each([
    ['a witness that is none', { TALOS_LOG_WITNESSES: 'hello http://127.0.0.1:1' }, /TALOS_LOG_WITNESSES must list/],
    ['a quorum of none', { TALOS_LOG_WITNESS_QUORUM: '1' }, /is 1, but there are 0 witnesses/],
    ['an anchor that is a folder', { TALOS_LOG_ANCHOR_FILES: '.' }, /The anchor .* cannot be read/],
    ['a command that fails', { TALOS_LOG_KEY_COMMAND: '["/nowhere/key"]' }, /\/nowhere\/key cannot be run/],
    ['a key that is said twice', { TALOS_LOG_KEY_COMMAND: '["a"]', TALOS_LOG_KEY_FILE: 'b' }, /keep one of them/],
  ])('does not start with %s', async (_name, env, sentence) => {
    await expect(start(env)).rejects.toThrow(sentence);
  });
});

describe('a gateway whose database is rolled back while it runs', () => {
  let gateway: TestGateway;
  let before: string;

  beforeEach(async () => {
    gateway = await start();
    for (let n = 0; n < 5; n++) expect((await submit(gateway)).status).toBe(200);
    before = await eventually(async () => {
      const { text } = await gateway.send('/log/checkpoint');
      return sizeOf(text) >= 5 ? text : undefined;
    });
    expect((await gateway.send('/readyz')).status).toBe(200);
    await rollBack(gateway.database, 2);
    // The record that makes it look, or that is refused already.
    await submit(gateway);
    await eventually(() => gateway.logText().includes('THE LOG WAS FORKED'));
  });

  it('is not ready, and refuses whatever needs a record', async () => {
    expect((await gateway.send('/readyz')).status).toBe(503);
    expect((await gateway.send('/health/ready')).status).toBe(503);
    const refused = await submit(gateway);
    expect([refused.status, refused.body['code']]).toEqual([503, 'AUDIT_UNAVAILABLE']);
    expect((await gateway.send('/health/live')).status).toBe(200);
    expect((await gateway.send('/metrics')).text).toMatch(/^gateway_log_forked 1$/m);
  });

  it('goes on showing what it signed last, and proves nothing from what is there now', async () => {
    const { text } = await gateway.send('/log/checkpoint');
    expect(sizeOf(text)).toBeGreaterThanOrEqual(sizeOf(before));
    for (const path of ['/log/consistency?from=1&to=2', '/log/tile/0/000.p/2']) {
      expect((await gateway.send(path)).status).toBe(503);
    }
  });
});
