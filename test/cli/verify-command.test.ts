import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { verifyCommand } from '../../cli/commands/verify.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';
import { formatReceipt, receiptToTlogProof } from '../../src/core/receipt.ts';
import { formatTlogProof } from '../../src/core/tlog-proof.ts';
import { logKey, logSigner, makeRecords, makeWitness, TestLog } from '../verifier/log.ts';

const log = new TestLog(makeRecords(12));
const witness = makeWitness('witness.example/w');
const stranger = generateNoteKey('gateway.example/log').vkey;
let folder = '';
const file = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-verify-'));
  const receipt = await log.receipt(5, 12, [logSigner, witness.signer]);
  const lines = await log.exportRange(2, 9);
  await writeFile(file('receipt.json'), formatReceipt(receipt));
  await writeFile(file('edited.json'), formatReceipt(receipt).replace('\\"n\\":5', '\\"n\\":6'));
  await writeFile(file('record.tlog-proof'), formatTlogProof(receiptToTlogProof(receipt)));
  await writeFile(file('export.jsonl'), `${lines.join('\n')}\n`);
  await writeFile(file('cut.jsonl'), `${lines.slice(0, -1).join('\n')}\n`);
  await writeFile(file('binary.jsonl'), Buffer.of(0xff, 0xfe));
  await writeFile(file('policy'), `log ${logKey}\nwitness w ${witness.vkey}\nquorum w\n`);
  await writeFile(file('hostile.json'), JSON.stringify({ format: 'talos.receipt/v1', '\u001b[2Jx': 1 }));
});

afterAll(() => rm(folder, { recursive: true }));

let out = '';

beforeEach(() => {
  out = '';
  vi.spyOn(console, 'log').mockImplementation((text: string) => {
    out += text;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

/** Runs the command in this process: the exit code, and what it said on stderr when it refused. */
async function verify(...args: readonly string[]): Promise<{ code: number; err: string }> {
  let err = '';
  const program = new Command('talos').exitOverride().configureOutput({ writeErr: (text) => (err += text) });
  verifyCommand(program);
  try {
    await program.parseAsync(['verify', ...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { code: error.exitCode, err };
  }
  const code = Number(process.exitCode ?? 0);
  process.exitCode = undefined;
  return { code, err };
}

describe('talos verify', () => {
  it.each([
    ['receipt', 'receipt.json'],
    ['receipt', 'record.tlog-proof'],
    ['export', 'export.jsonl'],
  ])('%s %s holds', async (kind, name) => {
    expect(await verify(kind, file(name), '--key', logKey)).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/\nverified$/);
  });

  it.each([
    ['receipt', 'edited.json'],
    ['receipt', 'export.jsonl'],
    ['receipt', 'hostile.json'],
    ['export', 'cut.jsonl'],
    ['export', 'receipt.json'],
    ['export', 'binary.jsonl'],
  ])('%s %s does not hold', async (kind, name) => {
    expect(await verify(kind, file(name), '--key', logKey)).toEqual({ code: 1, err: '' });
    expect(out).toMatch(/FAIL [\s\S]*\nNOT VERIFIED$/);
    expect(out).not.toContain('\u001b');
  });

  it('believes nobody else', async () => {
    for (const [kind, name] of [
      ['receipt', 'receipt.json'],
      ['export', 'export.jsonl'],
    ] as const) {
      expect(await verify(kind, file(name), '--key', stranger)).toMatchObject({ code: 1 });
    }
  });

  it('answers machines', async () => {
    expect(await verify('receipt', file('receipt.json'), '--key', logKey, '--json')).toMatchObject({ code: 0 });
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      leafIndex: 5,
      record: { meta: { n: 5 } },
      checkpoint: { size: 12, root: log.root().toString('base64') },
    });
    out = '';
    expect(await verify('export', file('cut.jsonl'), '--key', logKey, '--json')).toMatchObject({ code: 1 });
    expect(JSON.parse(out)).toMatchObject({ ok: false, records: 8 });
  });

  it('asks for witnesses by key, by quorum and by policy', async () => {
    const keys = ['--key', logKey, '--key', witness.vkey];
    expect(await verify('receipt', file('receipt.json'), ...keys)).toMatchObject({ code: 0 });
    expect(await verify('export', file('export.jsonl'), ...keys)).toMatchObject({ code: 1 });
    expect(await verify('export', file('export.jsonl'), ...keys, '--quorum', '0')).toMatchObject({ code: 0 });
    expect(await verify('receipt', file('receipt.json'), '--policy', file('policy'))).toMatchObject({ code: 0 });
    expect(await verify('export', file('export.jsonl'), '--policy', file('policy'))).toMatchObject({ code: 1 });
  });
});

describe('talos verify refuses to start', () => {
  it.each<[string, () => readonly string[], string]>([
    ['without a key', () => ['receipt', file('receipt.json')], 'with --key'],
    ['with a key that is none', () => ['receipt', file('receipt.json'), '--key', 'x'], 'A key is not'],
    ['with a witness alone', () => ['receipt', file('receipt.json'), '--key', witness.vkey], 'no key of a log'],
    [
      'with a policy and a key',
      () => ['receipt', file('receipt.json'), '--key', logKey, '--policy', file('policy')],
      'either',
    ],
    ['with a policy that is none', () => ['receipt', file('receipt.json'), '--policy', file('receipt.json')], 'policy'],
    ['with a policy that is not there', () => ['receipt', file('receipt.json'), '--policy', file('none')], 'ENOENT'],
    [
      'with a quorum that is no count',
      () => ['receipt', file('receipt.json'), '--key', logKey, '--quorum', 'all'],
      'not a count',
    ],
    [
      'with a quorum beyond its witnesses',
      () => ['receipt', file('receipt.json'), '--key', logKey, '--quorum', '1'],
      'There are not 1',
    ],
    ['without a file', () => ['receipt', '--key', logKey], 'missing required argument'],
    ['with a receipt that is not there', () => ['receipt', file('none'), '--key', logKey], 'ENOENT'],
    ['with an export that is not there', () => ['export', file('none'), '--key', logKey], 'ENOENT'],
    ['with a folder', () => ['export', folder, '--key', logKey], 'EISDIR'],
    ['with an option that is not known', () => ['receipt', file('receipt.json'), '--trust-me'], 'unknown option'],
  ])('%s', async (_, args, sentence) => {
    const { code, err } = await verify(...args());
    expect(err).toContain(sentence);
    // The parser's own refusals become 2 where the program is put together.
    expect(code).toBe(/missing required|unknown option/.test(sentence) ? 1 : 2);
    expect(out).toBe('');
  });
});
