import { access, chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LogKey, type LogKeySource, openLogKey } from '../../src/audit/log-key.ts';
import { runKeyCommand } from '../../src/audit/log-key-command.ts';
import { cosignature, generateNoteKey } from '../../src/core/note-key.ts';
import type { CheckpointStore } from '../../src/storage/checkpoints.ts';
import { cleanUp, freshLog } from '../support/log-fixture.ts';
import { freshFolder, storeOf } from '../support/log-signer.ts';

let store: CheckpointStore;
let folder: string;
let file: string;
let warnings: string[];

beforeEach(async () => {
  store = storeOf(await freshLog()).store;
  folder = await freshFolder();
  file = join(folder, 'log.key');
  warnings = [];
});
afterEach(cleanUp);

interface Given {
  readonly source?: LogKeySource;
  readonly origin?: string;
  readonly strict?: boolean;
}

function openKey({ source = { file }, origin, strict = true }: Given = {}): Promise<LogKey> {
  const warn = (sentence: string) => void warnings.push(sentence);
  return openLogKey({ source, origin, freshOrigin: 'fresh.example/log', store, strict, warn });
}

const written = (text: string, path = file) => writeFile(path, text, { mode: 0o600 });

/** The sentence of a refusal, which never holds the secret half of a key. */
async function refusal(opening: Promise<unknown>): Promise<string> {
  const error = await opening.then(
    () => new Error('was not refused'),
    (reason: Error) => reason,
  );
  expect(error.message).not.toMatch(/PRIVATE\+KEY\+[^ ]+\+[0-9a-f]{8}\+/);
  return error.message;
}

describe('the key of a log that was never signed', () => {
  it('is made in a file that only its owner can read, and stays', async () => {
    const key = await openKey();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(key.origin).toBe('fresh.example/log');
    expect(await store.signers()).toEqual(key.verifierKeys);
    expect((await openKey()).verifierKeys).toEqual(key.verifierKeys);
  });

  it('is named as the operator says', async () => {
    expect((await openKey({ origin: 'mine.example/log' })).origin).toBe('mine.example/log');
  });

  it('names the log when it was there before', async () => {
    const { skey, vkey } = generateNoteKey('brought.example/log');
    await written(`${skey}\n`);
    expect(await openKey()).toMatchObject({ origin: 'brought.example/log', verifierKeys: [vkey] });
  });

  it('is that of one gateway when many begin at once, and the others leave nothing behind', async () => {
    const files = Array.from({ length: 6 }, (_, n) => join(folder, `key-${n}`));
    const opened = await Promise.allSettled(files.map((path) => openKey({ source: { file: path } })));
    const reasons = opened.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
    expect(reasons).toHaveLength(5);
    for (const reason of reasons) expect(reason).toMatch(/give this one a copy|signed before, and its key is not in/);
    expect(await store.signers()).toHaveLength(1);
    const left = await Promise.allSettled(files.map((path) => access(path)));
    expect(left.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});

describe('several keys in one file', () => {
  it('all sign, the first one before the others', async () => {
    const [first, second] = [generateNoteKey('two.example/log'), generateNoteKey('two.example/log')];
    await store.addSigner(first.vkey);
    await store.addSigner(second.vkey);
    await written(`${first.skey}\n\n  ${second.skey}  \n`);
    const key = await openKey();
    expect(key.verifierKeys).toEqual([first.vkey, second.vkey]);
    expect(key.signers).toHaveLength(2);
  });

  it('must all be known to the log', async () => {
    const [first, second] = [generateNoteKey('two.example/log'), generateNoteKey('two.example/log')];
    await store.addSigner(first.vkey);
    await written(`${first.skey}\n${second.skey}\n`);
    expect(await refusal(openKey())).toMatch(/a key that has never signed this log/);
    expect(await store.signers()).toEqual([first.vkey]);
  });
});

describe('a start is refused', () => {
  it('when the log was signed before and the file is not there', async () => {
    await store.addSigner(generateNoteKey('fresh.example/log').vkey);
    expect(await refusal(openKey())).toBe(
      `This log has been signed before, and its key is not in ${file}: put it there or set TALOS_LOG_KEY_FILE.`,
    );
    await expect(access(file)).rejects.toThrow('ENOENT');
  });

  it('with another key of the same name', async () => {
    await openKey();
    await written(generateNoteKey('fresh.example/log').skey);
    expect(await refusal(openKey())).toMatch(/a key that has never signed this log/);
    expect(await store.signers()).toHaveLength(1);
  });

  it('with the key of another log', async () => {
    await openKey();
    await written(generateNoteKey('other.example/log').skey);
    expect(await refusal(openKey())).toBe(
      `The file ${file} is for the log other.example/log, but the database holds fresh.example/log.`,
    );
  });

  it('when the operator names another log than the key', async () => {
    await written(generateNoteKey('a.example/log').skey);
    expect(await refusal(openKey({ origin: 'b.example/log' }))).toMatch(/a\.example\/log, but TALOS_LOG_ORIGIN says b/);
    expect((await store.head()).origin).toBeUndefined();
  });

  it('when the operator names another log than the database', async () => {
    await store.origin('a.example/log');
    expect(await refusal(openKey({ origin: 'b.example/log' }))).toMatch(/names never change/);
    await expect(access(file)).rejects.toThrow('ENOENT');
  });

  it.each([
    ['nothing', () => '', /is empty/],
    ['white space', () => ' \n\t\n', /is empty/],
    ['something else', () => 'hello', /does not hold a log key/],
    ['a verifier key', () => generateNoteKey('a.example').vkey, /does not hold a log key/],
    ['a key that was cut short', () => generateNoteKey('a.example').skey.slice(0, -4), /does not hold a log key/],
    ['the key of a witness', () => generateNoteKey('a.example', cosignature).skey, /the key of a witness/],
    [
      'keys of two logs',
      () => `${generateNoteKey('a.example').skey}\n${generateNoteKey('b.example').skey}`,
      /keys of different logs/,
    ],
    ['one key twice', () => `${generateNoteKey('a.example').skey}\n`.repeat(2), /twice/],
    [
      'too many keys',
      () => Array.from({ length: 5 }, () => generateNoteKey('a.example').skey).join('\n'),
      /more than 4 keys/,
    ],
    ['far too much', () => 'x'.repeat(100_000), /does not hold a log key/],
  ])('by a file with %s', async (_name, text, sentence) => {
    await written(text());
    expect(await refusal(openKey())).toMatch(sentence);
    expect(await store.signers()).toEqual([]);
  });

  it('by a file that cannot be read', async () => {
    await mkdir(file, { mode: 0o700 });
    expect(await refusal(openKey())).toMatch(/cannot be read \(EISDIR\)/);
    expect(await refusal(openKey({ source: { file: `${import.meta.filename}/key` } }))).toMatch(/ENOTDIR/);
  });

  it('by a folder that the key cannot be written to', async () => {
    expect(await refusal(openKey({ source: { file: join(folder, 'no', 'key') } }))).toMatch(/cannot be written/);
    expect(await store.signers()).toEqual([]);
  });
});

describe('a key file that is open to everybody', () => {
  beforeEach(async () => {
    await openKey();
    await chmod(file, 0o644);
  });

  it('stops the start in production', async () => {
    expect(await refusal(openKey())).toBe(
      `The log key ${file} is open to every account of this machine: chmod 600 it.`,
    );
  });

  it('is a warning elsewhere', async () => {
    await openKey({ strict: false });
    expect(warnings).toEqual([expect.stringContaining('chmod 600')]);
  });

  it('is not one that the group may read, which is how containers are handed secrets', async () => {
    await chmod(file, 0o440);
    await openKey();
    expect(warnings).toEqual([]);
  });
});

describe('a command that prints the key', () => {
  const node = (code: string, ...args: string[]): LogKeySource => ({
    command: [process.execPath, '-e', code, ...args],
  });

  it('is used in place of a file', async () => {
    const { skey, vkey } = generateNoteKey('kms.example/log');
    const key = await openKey({ source: node('console.log(process.argv[1])', skey) });
    expect(key.verifierKeys).toEqual([vkey]);
    await expect(access(file)).rejects.toThrow('ENOENT');
  });

  it('is not a shell line', async () => {
    const trap = join(folder, 'trap');
    const printed = await runKeyCommand([process.execPath, '-p', 'process.argv[1]', `$(touch ${trap}); touch ${trap}`]);
    expect(printed).toBe(`$(touch ${trap}); touch ${trap}\n`);
    await expect(access(trap)).rejects.toThrow('ENOENT');
  });

  it.each([
    ['is not there', { command: ['/nowhere/key'] }, /\/nowhere\/key cannot be run: .*ENOENT/],
    ['fails', node('console.log("PRIVATE+KEY+a+00000000+AAAA"); process.exit(3)'), /failed with exit code 3/],
    ['prints nothing', node(''), /is empty/],
    ['prints something else', node('console.log("no such secret")'), /does not hold a log key/],
    [
      'prints without end',
      node('for (;;) require("fs").writeSync(1, "x".repeat(9000))'),
      /printed more than 8192 bytes/,
    ],
    ['ends by a signal', node('process.kill(process.pid, "SIGTERM")'), /was ended by SIGTERM/],
  ])('that %s stops the start', async (_name, source, sentence) => {
    expect(await refusal(openKey({ source }))).toMatch(sentence);
    expect(await store.signers()).toEqual([]);
  });

  it('that hangs is ended', async () => {
    const hanging = runKeyCommand([process.execPath, '-e', 'setInterval(() => {}, 1000)'], 200);
    expect(await refusal(hanging)).toMatch(/did not answer within 200 ms/);
  });

  it('cannot bring a key that the log does not know', async () => {
    const { verifierKeys } = await openKey();
    const { skey } = generateNoteKey('fresh.example/log');
    expect(await refusal(openKey({ source: node('console.log(process.argv[1])', skey) }))).toMatch(/never signed/);
    expect(await store.signers()).toEqual(verifierKeys);
  });
});

describe('nothing of a key', () => {
  it('is in the database', async () => {
    await openKey();
    const [, secret = ''] = /^PRIVATE\+KEY\+[^+]+\+[0-9a-f]{8}\+(.+)\n$/.exec(await readFile(file, 'utf8')) ?? [];
    expect(secret).toHaveLength(44);
    expect((await store.signers()).join()).not.toContain(secret);
  });
});
