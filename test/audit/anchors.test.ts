import { randomUUID } from 'node:crypto';
import { appendFile, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatCheckpoint, parseCheckpoint } from '../../src/core/checkpoint.ts';
import { openNote, parseNote, signNote } from '../../src/core/note.ts';
import { generateNoteKey, noteSigner, parseSignerKey } from '../../src/core/note-key.ts';
import { numbered } from '../support/drafts.ts';
import { eventually } from '../support/gateway.ts';
import { cleanUp, freshLog, query, writerOn } from '../support/log-fixture.ts';
import {
  freshFolder,
  type Place,
  rollBack,
  type Signer,
  type SignerOptions,
  signerOn,
  startHttp,
  startWitness,
} from '../support/log-signer.ts';

let log: Place;
let folder: string;
let file: string;

beforeEach(async () => {
  log = await freshLog();
  folder = await freshFolder();
  file = join(await freshFolder(), 'anchor');
});
afterEach(cleanUp);

async function append(count: number): Promise<void> {
  const writer = writerOn(log);
  await writer.append(randomUUID(), numbered(count));
  await writer.close();
}

const start = (options: Omit<SignerOptions, 'folder'> = {}): Promise<Signer> =>
  signerOn(log, { folder, anchorFiles: [file], ...options });

const notesIn = async (path = file): Promise<string[]> =>
  (await readFile(path, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { checkpoint: string }).checkpoint);

const sizeOf = (note: string) => parseCheckpoint(parseNote(note).text).size;
const sizesIn = async (path = file) => (await notesIn(path)).map(sizeOf);
const isAnchored = (size: number) =>
  sizesIn().then(
    (sizes) => sizes.includes(size),
    () => false,
  );

/** Signs and anchors checkpoints of these sizes, and stops. */
async function signSizes(...sizes: readonly number[]): Promise<Signer> {
  const signer = await start();
  let last = 0;
  for (const size of sizes) {
    await append(size - last);
    last = size;
    await signer.checkpointer.covering(size);
    await eventually(() => isAnchored(size));
  }
  await signer.checkpointer.close();
  return signer;
}

describe('an anchor file', () => {
  it('gets each checkpoint, after all that is there already', async () => {
    const { key } = await signSizes(1, 4, 9);
    const before = await readFile(file, 'utf8');
    const sizes = await sizesIn();
    expect(sizes).toEqual(expect.arrayContaining([1, 4, 9]));
    for (const note of await notesIn()) expect(openNote(note, key.verifiers).verified).toHaveLength(1);
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    const again = await start();
    await append(1);
    await again.checkpointer.covering(10);
    await again.checkpointer.close();
    const after = await readFile(file, 'utf8');
    expect(after.startsWith(before)).toBe(true);
    expect((await sizesIn()).at(-1)).toBe(10);
  });

  it('gets the newest of an interval, and at the end what still waits', async () => {
    const signer = await start({ anchorIntervalMs: 3_600_000 });
    for (let size = 1; size <= 5; size++) {
      await append(1);
      await signer.checkpointer.covering(size);
    }
    await expect(notesIn()).rejects.toThrow('ENOENT');
    await signer.checkpointer.close();
    expect(await sizesIn()).toEqual([5]);
  });

  it('gets the cosignatures too', async () => {
    const { key, checkpointer } = await start();
    await checkpointer.close();
    await rm(file, { force: true });
    const witness = await startWitness({ logs: key.verifierKeys });
    const signer = await start({ witnesses: [witness.entry], anchorIntervalMs: 3_600_000 });
    await append(3);
    const { note } = await signer.checkpointer.cosigned(3);
    await signer.checkpointer.close();
    expect(await notesIn()).toEqual([note]);
    expect(parseNote(note).signatures).toHaveLength(2);
  });

  it('is one of several, which do not wait for each other', async () => {
    const signer = await start({ anchorFiles: [join(folder, 'no', 'such', 'folder'), file] });
    await append(2);
    await signer.checkpointer.covering(2);
    await eventually(() => isAnchored(2));
    expect(signer.logText()).toMatch(/"level":40.*ENOENT.*the anchor .*no\/such\/folder did not take a checkpoint/);
    expect(await signer.metrics()).toMatch(
      /^gateway_log_outside_copy_failures_total\{kind="anchor",name=".*\/folder"\} [1-9]/m,
    );
    expect((await signer.checkpointer.covering(2)).size).toBe(2);
  });

  it('goes on after a line that a crash cut short', async () => {
    await signSizes(2);
    await appendFile(file, '{"time":"2026-01-01T00:00:00.000Z","checkp');
    const signer = await start();
    await append(2);
    await signer.checkpointer.covering(4);
    await signer.checkpointer.close();
    const lines = (await readFile(file, 'utf8')).split('\n');
    expect(lines.filter((line) => line.endsWith('checkp'))).toHaveLength(1);
    expect(lines.at(-1)).toBe('');
    expect(sizeOf(JSON.parse(lines.at(-2) ?? '').checkpoint)).toBe(4);
    await start();
  });
});

describe('the guard at the start hears an anchor file', () => {
  beforeEach(async () => {
    await signSizes(5, 300);
    // Everything that the owner of the database and of the gateway’s folder could tidy away.
    await rm(join(folder, 'log.checkpoint'));
    await query(log.url, 'DELETE FROM log_checkpoint');
  });

  it('and goes on when the database continues it', async () => {
    expect((await (await start()).checkpointer.latest()).size).toBe(300);
  });

  it.each([299, 5, 0])('and refuses an old copy of %d records', async (size) => {
    await rollBack(log, size);
    await expect(start()).rejects.toThrow(`holds ${size} records, but 300 were signed: it is an old copy`);
  });

  it('and refuses an old copy that has grown again', async () => {
    await rollBack(log, 100);
    await append(400);
    await expect(start()).rejects.toThrow('the database was changed or replaced');
  });

  it('and refuses an edit', async () => {
    await query(log.url, "UPDATE audit_event SET leaf_hash = sha256('x') WHERE seq = 299");
    await expect(start()).rejects.toThrow('the database was changed or replaced');
  });

  it('though its last line was cut short', async () => {
    const text = await readFile(file, 'utf8');
    await writeFile(file, `${text}${text.slice(0, 40)}`);
    await rollBack(log, 100);
    await expect(start()).rejects.toThrow('holds 100 records, but 300 were signed');
  });

  it('though its lines stand in another order', async () => {
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    await writeFile(file, `${lines.reverse().join('\n')}\n`);
    await rollBack(log, 100);
    await expect(start()).rejects.toThrow('holds 100 records, but 300 were signed');
  });

  it('even one among many that know nothing', async () => {
    await rollBack(log, 100);
    const empty = join(await freshFolder(), 'empty');
    await writeFile(empty, '');
    await expect(start({ anchorFiles: [empty, join(folder, 'new'), file] })).rejects.toThrow('300 were signed');
  });

  it('and refuses one of another log', async () => {
    const { name, privateKey } = parseSignerKey(generateNoteKey('other.example/log').skey);
    const text = formatCheckpoint({ origin: 'other.example/log', size: 1_000, root: Buffer.alloc(32) });
    const checkpoint = await signNote({ text, signatures: [] }, [noteSigner(name, privateKey)]);
    await appendFile(file, `${JSON.stringify({ checkpoint })}\n`);
    await expect(start()).rejects.toThrow(`The anchor ${file} is of the log other.example/log`);
  });

  it.each([
    ['words', 'hello\nworld\n'],
    ['JSON of something else', '{"a":1}\n{"b":2}\n'],
    ['checkpoints that are none', '{"checkpoint":"a"}\n{"checkpoint":1}\n'],
  ])('and refuses one that holds %s', async (_name, text) => {
    await writeFile(file, text);
    await expect(start()).rejects.toThrow(`The anchor ${file} cannot be read: none of its lines is a checkpoint`);
  });

  it('and refuses one that cannot be read', async () => {
    await expect(start({ anchorFiles: [folder] })).rejects.toThrow(/The anchor .* cannot be read: EISDIR/);
  });
});

describe('an anchor address', () => {
  it('is sent the checkpoint as it is', async () => {
    const requests: { method: string | undefined; type: string | undefined; body: string }[] = [];
    const url = await startHttp(async (request, response) => {
      requests.push({ method: request.method, type: request.headers['content-type'], body: await readAll(request) });
      response.writeHead(201).end();
    });
    const signer = await start({ anchorFiles: [], anchorUrls: [`${url}/anchors?log=1`] });
    await append(3);
    const { note } = await signer.checkpointer.covering(3);
    await eventually(() => requests.some(({ body }) => body === note));
    expect(requests.at(-1)).toEqual({ method: 'POST', type: 'text/plain; charset=utf-8', body: note });
  });

  it.each([
    ['answers 500', 500, undefined],
    ['answers 403', 403, undefined],
    ['sends us elsewhere', 302, 'http://127.0.0.1:1/'],
  ])('that %s is a warning and a metric, and neither tells its secret', async (_name, status, location) => {
    const url = await startHttp((_, response) =>
      response.writeHead(status, location === undefined ? {} : { location }).end(),
    );
    const signer = await start({ anchorFiles: [file], anchorUrls: [`${url}/secret-path?token=secret-token`] });
    await append(2);
    await signer.checkpointer.covering(2);
    await signer.checkpointer.close();
    expect(signer.logText()).toMatch(/"level":40.*the anchor 127\.0\.0\.1:\d+ did not take a checkpoint/);
    expect(await signer.metrics()).toMatch(
      /outside_copy_failures_total\{kind="anchor",name="127\.0\.0\.1:\d+"\} [1-9]/,
    );
    expect(signer.logText() + (await signer.metrics())).not.toMatch(/secret-/);
    expect((await sizesIn()).at(-1)).toBe(2);
  });

  it('that never answers is not waited for at the end', async () => {
    let asked = 0;
    const url = await startHttp(() => {
      asked++;
    });
    const signer = await start({ anchorFiles: [], anchorUrls: [url] });
    await append(2);
    await signer.checkpointer.covering(2);
    await eventually(() => asked === 1);
    const startedAt = performance.now();
    await signer.checkpointer.close();
    expect(performance.now() - startedAt).toBeLessThan(9_000);
  });

  it('is told what it missed when it is back, though nothing new was signed', async () => {
    const bodies: string[] = [];
    let isBroken = true;
    const url = await startHttp(async (request, response) => {
      const body = await readAll(request);
      response.writeHead(isBroken ? 503 : 200).end();
      if (!isBroken) bodies.push(body);
    });
    const signer = await start({ anchorFiles: [], anchorUrls: [url] });
    await append(2);
    const { note } = await signer.checkpointer.covering(2);
    await eventually(() => signer.logText().includes('did not take a checkpoint'));
    isBroken = false;
    await eventually(() => bodies.includes(note), 15_000);
    // It says so when it has read the answer, which is after we gave it.
    await eventually(() => /"level":30.*takes checkpoints again/.test(signer.logText()));
  });
});
