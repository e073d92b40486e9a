/** A log that follows one that is lost: its first record says where that one ended. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseLogKey } from '../../src/audit/log-key.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { verifierOfKey } from '../../src/core/cosignature.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { openNote, signNote } from '../../src/core/note.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';
import { childEnv } from '../support/child-env.ts';
import { numbered } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, query, writerOn } from '../support/log-fixture.ts';
import { freshFolder } from '../support/log-signer.ts';

const program = resolve(import.meta.dirname, '../support/log-cli-process.ts');
const root = 'ab'.repeat(32);

let log: { url: string };
let folder: string;
let lastNote: string;

beforeEach(async () => {
  log = await freshLog();
  folder = await freshFolder();
  const { skey } = generateNoteKey('old.example/log');
  const text = `old.example/log\n41\n${Buffer.from(root, 'hex').toString('base64')}\n`;
  lastNote = await signNote({ text, signatures: [] }, parseLogKey(skey, 'The key').signers);
  await writeFile(join(folder, 'last'), lastNote);
});
afterEach(cleanUp);

function newEpoch(after: string, origin: string): Promise<{ code: unknown; out: string; err: string }> {
  const env = {
    ...childEnv,
    DEV_MODE: 'true',
    LOG_LEVEL: 'warn',
    DATABASE_URL: log.url,
    TALOS_DATA_DIR: folder,
    TALOS_LOG_ORIGIN: origin,
  };
  const args = [program, 'log', 'new-epoch', '--after', after];
  return new Promise((done) => {
    execFile(process.execPath, args, { cwd: folder, env }, (error, out, err) =>
      done({ code: error?.code ?? 0, out, err }),
    );
  });
}

describe('talos log new-epoch', () => {
  it('begins a log with the end of the old one, signed by the new key', async () => {
    const { code, out, err } = await newEpoch('last', 'new.example/log');
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
    const [first, ...others] = await checkLog(log);
    expect(others).toEqual([]);
    expect(first?.record).toMatchObject({
      surface_id: 'log.epoch.begin',
      principal: { principal_id: 'gateway' },
      resource: { resource_id: 'new.example/log' },
      meta: {
        previous_origin: 'old.example/log',
        previous_size: 41,
        previous_root: root,
        details_hash: sha256Hex(canonicalize({ checkpoint: lastNote })),
      },
    });
    const [row] = await query(log.url, 'SELECT details FROM audit_event');
    expect(JSON.parse(String(row?.['details']))).toEqual({ checkpoint: lastNote });
    const vkey = /^new\.example\/log\+.*$/m.exec(err)?.[0] ?? '';
    const { text, verified } = openNote(out.trimEnd().concat('\n'), [verifierOfKey(vkey)]);
    expect(verified).toHaveLength(1);
    expect(parseCheckpoint(text)).toMatchObject({ origin: 'new.example/log', size: 1 });
    // An epoch begins once.
    const again = await newEpoch('last', 'new.example/log');
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('holds records already') });
    expect(await checkLog(log)).toHaveLength(1);
  });

  it.each<[string, string, string, string]>([
    ['under the old name', 'last', 'old.example/log', 'needs another name than old.example/log'],
    ['after nothing', 'missing', 'new.example/log', 'no such file'],
    ['after what is no checkpoint', 'log.key', 'new.example/log', ''],
  ])('is refused %s', async (_, after, origin, sentence) => {
    const { code, out, err } = await newEpoch(after, origin);
    expect({ isRefused: code !== 0, out }).toEqual({ isRefused: true, out: '' });
    expect(err).toContain(sentence);
    expect(await checkLog(log)).toEqual([]);
  });

  it('is refused for a log that holds records, which stay as they are', async () => {
    await writerOn(log).append(randomUUID(), numbered(3));
    const { code, err } = await newEpoch('last', 'new.example/log');
    expect({ code, isSaid: err.includes('holds records already') }).toEqual({ code: 1, isSaid: true });
    expect(await checkLog(log)).toHaveLength(3);
  });
});
