import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { access, chmod, copyFile, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { text as readAll } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { verifierOfKey } from '../../src/core/cosignature.ts';
import { openNote, parseNote } from '../../src/core/note.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';
import { childEnv } from '../support/child-env.ts';
import { numbered } from '../support/drafts.ts';
import { productionEnv } from '../support/gateway.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';
import { freshFolder, type Place, rollBack, signerOn, startWitness } from '../support/log-signer.ts';

const program = resolve(import.meta.dirname, '../support/log-cli-process.ts');

let log: Place;
let folder: string;

beforeEach(async () => {
  log = await freshLog();
  folder = await freshFolder();
});
afterEach(cleanUp);

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  const base = {
    ...childEnv,
    ...productionEnv,
    MCP_SERVER_A: 'http://127.0.0.1:1',
    LOG_LEVEL: 'warn',
  };
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { ...base, DATABASE_URL: log.url, TALOS_DATA_DIR: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  later(() => void child.kill('SIGKILL'));
  return child;
}

async function talos(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Outcome> {
  const child = run(args, env);
  const exited = once(child, 'close');
  const [out, err] = await Promise.all([child.stdout, child.stderr].map((stream) => (stream ? readAll(stream) : '')));
  return { out: out ?? '', err: err ?? '', code: (await exited)[0] as number | null };
}

async function append(count: number): Promise<void> {
  const writer = writerOn(log);
  await writer.append(randomUUID(), numbered(count));
  await writer.close();
}

/** A log of five signed records. Returns its verifier key and its checkpoint. */
async function signedLog(): Promise<{ vkey: string; note: string }> {
  const { checkpointer, key } = await signerOn(log, { folder });
  await append(5);
  const { note } = await checkpointer.covering(5);
  await checkpointer.close();
  return { vkey: key.verifierKeys[0] ?? '', note };
}

const idOf = (vkey: string) => vkey.split('+')[1] ?? '';
const isSignedBy = (note: string, vkey: string) => {
  try {
    return openNote(note, [verifierOfKey(vkey)]).verified.length === 1;
  } catch {
    return false;
  }
};
const noteIn = (text: string) => /log\.example\/audit\n\d+\n[\s\S]*?\n\n(?:— .*\n)+/.exec(text)?.[0] ?? '';
const out = () => join(folder, 'new.key');
const keyFile = () => join(folder, 'log.key');

describe('talos log rotate-key', () => {
  it('makes a key, records it, and signs a bridge with both keys', async () => {
    const { vkey: old, note: before } = await signedLog();
    const { code, out: printed, err } = await talos(['log', 'rotate-key', '--out', out()]);
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
    const fresh = printed.trim();
    expect(fresh).not.toBe(old);
    expect((await stat(out())).mode & 0o777).toBe(0o600);

    const bridge = noteIn(err);
    expect([isSignedBy(bridge, old), isSignedBy(bridge, fresh)]).toEqual([true, true]);
    const records = await checkLog(log);
    expect(records).toHaveLength(6);
    expect(parseCheckpoint(parseNote(bridge).text).size).toBe(6);
    expect(records[5]?.record).toMatchObject({
      surface_id: 'log.key.rotate',
      http: { method: 'POST', path: '/internal/log.key.rotate', status_code: 200 },
      principal: { auth_mode: 'bearer', principal_id: 'gateway', team_id: 'default' },
      meta: { old_key_ids: idOf(old), new_key_id: idOf(fresh), old_keys_kept: true },
      outcome: 'success',
    });
    expect(await query(log.url, 'SELECT verifier_key FROM log_signer ORDER BY added_at')).toEqual([
      { verifier_key: old },
      { verifier_key: fresh },
    ]);
    // What was signed before is as good as it was.
    expect([isSignedBy(before, old), isSignedBy(before, fresh)]).toEqual([true, false]);
  });

  it('is followed by checkpoints of both keys, and then of the new one alone', async () => {
    const { vkey: old } = await signedLog();
    const fresh = (await talos(['log', 'rotate-key', '--out', out()])).out.trim();
    await rename(out(), keyFile());
    const both = await signerOn(log, { folder });
    await append(1);
    const { note } = await both.checkpointer.covering(7);
    expect([isSignedBy(note, old), isSignedBy(note, fresh)]).toEqual([true, true]);
    await both.checkpointer.close();

    const [first = ''] = (await readFile(keyFile(), 'utf8')).split('\n');
    await writeFile(keyFile(), first);
    const alone = await signerOn(log, { folder });
    await append(1);
    const last = await alone.checkpointer.covering(8);
    expect([isSignedBy(last.note, old), isSignedBy(last.note, fresh)]).toEqual([false, true]);
    const { out: status } = await talos(['log', 'status']);
    expect(status.split('\n').filter((line) => /^(?:retired )?key /.test(line))).toEqual([
      `retired key ${old}`,
      `key         ${fresh}`,
    ]);
  });

  it('leaves the old key out of the file when others may know it', async () => {
    const { vkey: old } = await signedLog();
    const { out: printed, err } = await talos(['log', 'rotate-key', '--out', out(), '--drop-old']);
    expect((await readFile(out(), 'utf8')).trim().split('\n')).toHaveLength(1);
    expect(isSignedBy(noteIn(err), old)).toBe(true);
    await rename(out(), keyFile());
    const { checkpointer } = await signerOn(log, { folder });
    const latest = await checkpointer.latest();
    expect([isSignedBy(latest.note, old), isSignedBy(latest.note, printed.trim())]).toEqual([true, true]);
    await append(1);
    const { note } = await checkpointer.covering(7);
    expect([isSignedBy(note, old), isSignedBy(note, printed.trim())]).toEqual([false, true]);
    expect((await checkLog(log))[5]?.record['meta']).toMatchObject({ old_keys_kept: false });
  });

  it('does not disturb a gateway that still signs with the old key', async () => {
    const { vkey: old } = await signedLog();
    const elsewhere = await freshFolder();
    await copyFile(keyFile(), join(elsewhere, 'log.key'));
    const running = await signerOn(log, { folder: elsewhere });
    await talos(['log', 'rotate-key', '--out', out()]);
    await rename(out(), keyFile());
    const renewed = await signerOn(log, { folder });
    for (let size = 7; size < 12; size++) {
      await append(1);
      const [one, two] = [await running.checkpointer.covering(size), await renewed.checkpointer.covering(size)];
      expect([one.size, two.size]).toEqual([size, size]);
      expect([isSignedBy(one.note, old), isSignedBy(two.note, old)]).toEqual([true, true]);
      expect(parseCheckpoint(parseNote(one.note).text)).toEqual(parseCheckpoint(parseNote(two.note).text));
    }
    expect(running.logText() + renewed.logText()).not.toMatch(/FORKED|"level":50/);
  });

  it('can be done again and again', async () => {
    await signedLog();
    for (let n = 0; n < 3; n++) {
      expect((await talos(['log', 'rotate-key', '--out', out(), '--drop-old'])).code).toBe(0);
      await rename(out(), keyFile());
    }
    expect(await query(log.url, 'SELECT count(*)::int AS n FROM log_signer')).toEqual([{ n: 4 }]);
  });

  it('works for a key that a command prints', async () => {
    const { vkey: old } = await signedLog();
    const secret = join(folder, 'vault');
    await rename(keyFile(), secret);
    const command = [
      process.execPath,
      '-e',
      'process.stdout.write(require("fs").readFileSync(process.argv[1]))',
      secret,
    ];
    const env = { TALOS_LOG_KEY_COMMAND: JSON.stringify(command) };
    const { code, err } = await talos(['log', 'rotate-key', '--out', out()], env);
    expect(code).toBe(0);
    expect(isSignedBy(noteIn(err), old)).toBe(true);
    await expect(access(keyFile())).rejects.toThrow('ENOENT');
  });

  describe('changes nothing', () => {
    async function expectUntouched(): Promise<void> {
      expect(await query(log.url, 'SELECT count(*)::int AS n FROM log_signer')).toEqual([{ n: 1 }]);
      expect(await query(log.url, "SELECT 1 FROM audit_event WHERE surface_id = 'log.key.rotate'")).toEqual([]);
      await expect(access(out())).rejects.toThrow('ENOENT');
    }

    const rotate = () => talos(['log', 'rotate-key', '--out', out()]);

    beforeEach(async () => {
      await signedLog();
    });

    it('when the database is an old copy', async () => {
      await rollBack(log, 3);
      const { code, err } = await rotate();
      expect(code).toBe(1);
      expect(err).toContain('holds 3 records, but 5 were signed');
      await expectUntouched();
    });

    it('when the old key is not there', async () => {
      await rm(keyFile());
      const { code, err } = await rotate();
      expect({ code, err }).toEqual({ code: 2, err: 'error: The log has no key yet: its first start makes one.\n' });
      await expectUntouched();
    });

    it('when the old key is another one', async () => {
      await writeFile(keyFile(), generateNoteKey('log.example/audit').skey);
      const { code, err } = await rotate();
      expect(code).toBe(1);
      expect(err).toContain('never signed this log');
      await expectUntouched();
    });

    it('when the old key is open to everybody', async () => {
      await chmod(keyFile(), 0o644);
      const { code, err } = await rotate();
      expect(code).toBe(1);
      expect(err).toContain('chmod 600');
      await expectUntouched();
    });

    it('when the new file cannot be written', async () => {
      const { code, err } = await talos(['log', 'rotate-key', '--out', join(folder, 'no', 'such', 'key')]);
      expect(code).toBe(1);
      expect(err).toContain('cannot be written');
      await expectUntouched();
    });

    it('when the new file is there already', async () => {
      const before = await readFile(keyFile(), 'utf8');
      const { code, err } = await talos(['log', 'rotate-key', '--out', keyFile()]);
      expect(code).toBe(1);
      expect(err).toContain('it exists already');
      expect(await readFile(keyFile(), 'utf8')).toBe(before);
      await expectUntouched();
    });

    it('without a file to write to, or with settings that a start would refuse', async () => {
      expect((await talos(['log', 'rotate-key'])).code).toBe(2);
      const { code, err } = await talos(['log', 'rotate-key', '--out', out()], { TALOS_GATEWAY_PORT: 'many' });
      expect(code).toBe(2);
      expect(err).toContain('TALOS_GATEWAY_PORT must be a port number');
      await expectUntouched();
    });
  });

  it('never prints a secret', async () => {
    await signedLog();
    const { out: printed, err } = await talos(['log', 'rotate-key', '--out', out()]);
    for (const line of (await readFile(out(), 'utf8')).trim().split('\n')) {
      expect(printed + err).not.toContain(line.split('+').slice(4).join('+'));
    }
    expect(printed + err).not.toContain('PRIVATE');
  });
});

describe('talos log status', () => {
  it('tells name, size, keys, checkpoint, witnesses and anchors, without what an address hides', async () => {
    const { vkey } = await signedLog();
    const witness = await startWitness({ logs: [vkey] });
    const { code, out: printed } = await talos(['log', 'status'], {
      TALOS_LOG_WITNESSES: witness.entry,
      TALOS_LOG_ANCHOR_URLS: 'http://127.0.0.1:1/path?token=secret',
    });
    expect(code).toBe(0);
    const lines = printed
      .trimEnd()
      .split('\n')
      .map((line) => [line.slice(0, 12).trim(), line.slice(12)]);
    expect(lines).toEqual([
      ['origin', 'log.example/audit'],
      ['records', '5'],
      ['key', vkey],
      ['checkpoint', expect.stringMatching(/^5 records, root [0-9a-f]{64}$/)],
      ['signed by', `log.example/audit+${idOf(vkey)}`],
      ['witness', `${witness.vkey.split('+')[0]} ${witness.url}`],
      ['quorum', '1'],
      ['anchor', 'http://127.0.0.1:1'],
    ]);
  });

  it('tells of a log that was never signed, and signs nothing', async () => {
    const { code, out: printed } = await talos(['log', 'status']);
    expect(code).toBe(0);
    expect(printed).toMatch(/^origin +none yet\nrecords +0\ncheckpoint +none yet\n$/);
    await expect(access(keyFile())).rejects.toThrow('ENOENT');
  });

  it('says in a sentence that the database cannot be reached', async () => {
    const { code, out: printed, err } = await talos(['log', 'status'], { DATABASE_URL: 'postgres://127.0.0.1:1/x' });
    expect({ code, printed }).toEqual({ code: 1, printed: '' });
    expect(err).toMatch(/^error: .*ECONNREFUSED.*\n$/);
  });
});

describe('talos witness', () => {
  const dir = () => join(folder, 'witness');
  const files = () => ({ key: join(dir(), 'witness.key'), state: join(dir(), 'witness.state') });

  async function create(): Promise<string> {
    const { code, out: printed } = await talos(['witness', 'create', '--name', 'w.example/1', '--out', dir()]);
    expect(code).toBe(0);
    return printed.trim();
  }

  it('cosigns for a gateway, and remembers when it was killed', async () => {
    const { vkey } = await signedLog();
    const witnessKey = await create();
    const args = ['witness', '--dir', dir(), '--log', vkey, '--port', '0'];
    for (const size of [5, 8]) {
      const child = run(args);
      if (child.stdout === null) throw new Error('the witness has no output');
      const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
      expect(line).toMatch(
        new RegExp(`^witness ${witnessKey.replaceAll(/[+/.]/g, '\\$&')} http://127\\.0\\.0\\.1:\\d+$`),
      );
      const { checkpointer } = await signerOn(log, { folder, witnesses: [line.slice('witness '.length)] });
      if (size === 8) await append(3);
      const { note } = await checkpointer.cosigned(size);
      expect(isSignedBy(note, witnessKey)).toBe(true);
      await checkpointer.close();
      child.kill(size === 5 ? 'SIGKILL' : 'SIGTERM');
      const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
      expect([code, signal]).toEqual(size === 5 ? [null, 'SIGKILL'] : [0, null]);
      const { checkpoints } = JSON.parse(await readFile(files().state, 'utf8')) as {
        checkpoints: Record<string, string>;
      };
      expect(parseCheckpoint(parseNote(checkpoints['log.example/audit'] ?? '').text).size).toBe(size);
    }
  });

  it('makes files that only their owner can read, and never overwrites one', async () => {
    const vkey = await create();
    expect(vkey).toMatch(/^w\.example\/1\+[0-9a-f]{8}\+B/);
    const { key, state } = files();
    for (const file of [key, state]) expect((await stat(file)).mode & 0o777).toBe(0o600);
    const before = await readFile(key, 'utf8');
    const { code, err } = await talos(['witness', 'create', '--name', 'x', '--out', dir()]);
    expect(code).toBe(2);
    expect(err).toContain('it is never overwritten');
    expect(await readFile(key, 'utf8')).toBe(before);
  });

  it('refuses to start without what it needs, each in a sentence', async () => {
    await create();
    const { key, state } = files();
    const { vkey } = generateNoteKey('log.example/audit');
    const [keyless, stateless, loggish] = [join(folder, 'a'), join(folder, 'b'), join(folder, 'c')];
    for (const other of [keyless, stateless, loggish]) await mkdir(other);
    await copyFile(state, join(keyless, 'witness.state'));
    await copyFile(key, join(stateless, 'witness.key'));
    await writeFile(join(loggish, 'witness.key'), generateNoteKey('log.example/audit').skey, { mode: 0o600 });
    const cases: [args: string[], sentence: RegExp][] = [
      [[], /needs --dir, .* and at least one --log/],
      [['--dir', dir()], /at least one --log/],
      [['--dir', keyless, '--log', vkey], /The key .* cannot be read/],
      [['--dir', loggish, '--log', vkey], /holds the key of a log/],
      [['--dir', stateless, '--log', vkey], /state of the witness in .* cannot be read/],
      [['--dir', dir(), '--log', 'hello'], /The note key is not/],
      [['--dir', dir(), '--log', vkey, '--port', 'many'], /--port is not a port number/],
      [['--dir', dir(), '--log', vkey, '--port', '0', '--host', '192.0.2.1'], /cannot be listened on/],
      [['create', '--name', 'two words', '--out', join(folder, 'd')], /a name that is empty or holds spaces/],
    ];
    const outcomes = await Promise.all(cases.map(([args]) => talos(['witness', ...args])));
    for (const [at, [, sentence]] of cases.entries()) {
      expect(outcomes[at]).toMatchObject({ code: 2, out: '' });
      expect(outcomes[at]?.err).toMatch(sentence);
      expect(outcomes[at]?.err.trim().split('\n')).toHaveLength(1);
    }
  });
});
