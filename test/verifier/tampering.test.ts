/**
 * What a gateway, or whoever holds its database and its signing key, could do to the log, and who notices: a monitor
 * that remembers one earlier checkpoint, and anyone who verifies an export.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { canonicalize } from '../../src/core/canonical-json.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { signNote } from '../../src/core/note.ts';
import { generateNoteKey, noteSigner, parseSignerKey } from '../../src/core/note-key.ts';
import {
  type Decision,
  linesOf,
  monitor,
  type Trust,
  trust,
  verifyConsistency,
  verifyExport,
} from '../../verifier/index.ts';
import { exportLine, logKey, makeRecords, makeWitness, TestLog } from './log.ts';

const honest = new TestLog(makeRecords(60));
const seenSize = 40;
let trusted: Trust;
let seen: string;

beforeAll(async () => {
  trusted = await trust({ vkeys: [logKey] });
  seen = await honest.checkpoint(seenSize);
});

const records = honest.records;
const without = (index: number) => records.toSpliced(index, 1);
const swapped = (a: number, b: number) => records.with(a, records[b] ?? '').with(b, records[a] ?? '');
const forged = canonicalize({ event_id: 'forged', meta: { n: -1 } });

/** Histories that are signed with the log's own key, but are not the history that was seen. */
const histories: readonly (readonly [string, readonly string[]])[] = [
  ['a record edited', records.with(7, forged)],
  ['the first record edited', records.with(0, forged)],
  ['the last seen record edited', records.with(seenSize - 1, forged)],
  ['a record deleted', without(7)],
  ['a record inserted', records.toSpliced(7, 0, forged)],
  ['two records exchanged', swapped(3, 30)],
  ['neighbours exchanged', swapped(38, 39)],
  ['a record doubled', records.toSpliced(7, 0, records[7] ?? '')],
  ['another log spliced to the first half', [...records.slice(0, 20), ...makeRecords(60, 'other').slice(20)]],
  ['another log altogether', makeRecords(60, 'other')],
  ['an old backup that went on differently', [...records.slice(0, 30), ...makeRecords(60, 'later').slice(30)]],
];

describe('one earlier checkpoint is enough to notice', () => {
  it.each(histories)('%s', async (_, history) => {
    const log = new TestLog(history);
    const report = await monitor(seen, await log.checkpoint(), await log.consistency(seenSize), trusted);
    expect(report).toMatchObject({ ok: false, decision: 'inconsistent', seen });
    // At the size that was seen, the two signed roots prove it without any other proof.
    expect(await monitor(seen, await log.checkpoint(seenSize), [], trusted)).toMatchObject({ decision: 'fork' });
  });

  it.each(histories)('%s, with the proof of the honest log', async (_, history) => {
    const next = await new TestLog(history.slice(0, 60)).checkpoint();
    const report = await monitor(seen, next, await honest.consistency(seenSize), trusted);
    expect(report).toMatchObject({ ok: false, seen });
  });

  it('a tail that was cut', async () => {
    const cut = new TestLog(records.slice(0, seenSize - 1));
    expect(await monitor(seen, await cut.checkpoint(), [], trusted)).toMatchObject({
      ok: false,
      decision: 'rollback',
      seen,
    });
  });

  it('an old backup', async () => {
    const backup = await honest.checkpoint(10);
    expect(await monitor(seen, backup, await honest.consistency(10, 40), trusted)).toMatchObject({
      decision: 'rollback',
    });
  });

  it('an empty log', async () => {
    expect(await monitor(seen, await honest.checkpoint(0), [], trusted)).toMatchObject({ decision: 'rollback' });
  });

  it('edits after the seen size only when they were seen: nothing else was promised', async () => {
    const log = new TestLog(records.with(50, forged));
    expect(await monitor(seen, await log.checkpoint(), await log.consistency(seenSize), trusted)).toMatchObject({
      ok: true,
    });
    const later = await honest.checkpoint(55);
    expect(await monitor(later, await log.checkpoint(), await log.consistency(55), trusted)).toMatchObject({
      ok: false,
    });
  });
});

describe('the monitor', () => {
  it('follows an honest log from its first record, and from nothing', async () => {
    let state: string | undefined;
    const decisions: Decision[] = [];
    for (const size of [0, 0, 1, 1, 2, 7, 8, 40, 60, 60]) {
      const before = state === undefined ? 0 : Number(state.split('\n')[1]);
      const proof = before === 0 || before === size ? [] : await honest.consistency(before, size);
      const report = await monitor(state, await honest.checkpoint(size), proof, trusted);
      decisions.push(report.decision);
      state = report.seen;
    }
    const grown = Array<Decision>(5).fill('grown');
    expect(decisions).toEqual(['first', 'unchanged', 'grown', 'unchanged', ...grown, 'unchanged']);
  });

  it('does not believe another key, a damaged note or another origin', async () => {
    const { privateKey, name } = parseSignerKey(generateNoteKey('gateway.example/log').skey);
    const proof = await honest.consistency(seenSize);
    const next = await honest.checkpoint();
    const stranger = await honest.checkpoint(60, [noteSigner(name, privateKey)]);
    for (const note of [stranger, next.replace('\n60\n', '\n59\n'), next.slice(0, -1), '']) {
      expect(await monitor(seen, note, proof, trusted)).toMatchObject({ ok: false, decision: 'untrusted', seen });
    }
    const other = generateNoteKey('other.example/log');
    const text = next.slice(0, next.indexOf('\n\n') + 1).replace('gateway.example', 'other.example');
    const signer = noteSigner('other.example/log', parseSignerKey(other.skey).privateKey);
    const foreign = await signNote({ text, signatures: [] }, [signer]);
    const both = await trust({ vkeys: [logKey, other.vkey] });
    expect(await monitor(seen, foreign, proof, both)).toMatchObject({ ok: false, decision: 'other_log', seen });
  });

  it('wants the quorum of witnesses for every step', async () => {
    const witness = makeWitness('witness.example/w');
    const both = await trust({ vkeys: [logKey, witness.vkey] });
    expect(await monitor(undefined, seen, [], both)).toMatchObject({ decision: 'untrusted', seen: undefined });
  });

  it.each<[string, (proof: string[]) => unknown]>([
    ['none', () => []],
    ['a hash too few', (proof) => proof.slice(1)],
    ['a hash too many', (proof) => [...proof, proof[0]]],
    ['another order', (proof) => proof.toReversed()],
    ['text that is no hash', () => ['x']],
    ['no list', () => 'x'],
    ['more hashes than any tree has', (proof) => Array(65).fill(proof[0])],
  ])('refuses as proof %s', async (_, change) => {
    const proof = change(await honest.consistency(seenSize)) as string[];
    expect(await monitor(seen, await honest.checkpoint(), proof, trusted)).toMatchObject({
      decision: 'inconsistent',
      seen,
    });
  });

  it('refuses a proof where there is nothing to prove', async () => {
    const empty = await honest.checkpoint(0);
    const proof = await honest.consistency(1);
    expect(await monitor(empty, seen, proof, trusted)).toMatchObject({ decision: 'inconsistent' });
  });
});

describe('verifyConsistency', () => {
  it('takes two signed checkpoints and what joins them', async () => {
    const next = await honest.checkpoint();
    const proof = await honest.consistency(seenSize);
    expect(await verifyConsistency(seen, next, proof, trusted)).toMatchObject({ ok: true });
    expect(await verifyConsistency(next, seen, proof, trusted)).toMatchObject({ ok: false });
    expect(await verifyConsistency(seen, next, [], trusted)).toMatchObject({ ok: false });
    expect(await verifyConsistency('', next, proof, trusted)).toMatchObject({ ok: false });
    const unsigned = seen.replace(/— .*/, '— a AAAAAAAA');
    expect(await verifyConsistency(unsigned, next, proof, trusted)).toMatchObject({ ok: false });
  });
});

const lineIndex = (lines: readonly string[], index: number) =>
  lines.findIndex((line) => line.includes(`"leaf_index":${index},`));

/** What can be done to the lines of an export of records 8 to 47. */
const edits: readonly (readonly [string, (lines: string[]) => string[]])[] = [
  ['a record edited', (lines) => lines.with(lineIndex(lines, 20), exportLine(20, forged))],
  ['a record deleted', (lines) => lines.toSpliced(lineIndex(lines, 20), 1)],
  ['a record deleted and the rest renumbered', (lines) => renumbered(lines.toSpliced(lineIndex(lines, 20), 1))],
  ['a record inserted', (lines) => renumbered(lines.toSpliced(lineIndex(lines, 20), 0, exportLine(20, forged)))],
  ['a record doubled', (lines) => renumbered(lines.toSpliced(5, 0, lines[5] ?? ''))],
  ['two records exchanged', (lines) => renumbered(lines.with(5, lines[9] ?? '').with(9, lines[5] ?? ''))],
  ['the tail cut', (lines) => lines.slice(0, -1)],
  ['the tail cut and the count adapted', (lines) => [counted(lines[0], 39), ...lines.slice(1, -1)]],
  ['all records cut', (lines) => lines.slice(0, 1)],
  ['everything cut', () => []],
  ['a record more', (lines) => [...lines, exportLine(48, records[48] ?? '')]],
  [
    'the records of another log',
    (lines) => [
      lines[0] ?? '',
      ...makeRecords(60, 'x')
        .slice(8, 48)
        .map((record, at) => exportLine(8 + at, record)),
    ],
  ],
  ['no header', (lines) => lines.slice(1)],
  ['the header twice', (lines) => [lines[0] ?? '', ...lines]],
  ['an empty line', (lines) => lines.toSpliced(5, 0, '')],
  ['an empty last line', (lines) => [...lines, '']],
  ['a line that is not canonical', (lines) => lines.with(5, `${lines[5]} `)],
  ['a line with a key twice', (lines) => lines.with(5, (lines[5] ?? '').replace('{', '{"leaf_index":12,'))],
  [
    'a line with another member',
    (lines) => lines.with(5, canonicalize({ ...(JSON.parse(lines[5] ?? '') as JsonObject), x: 1 })),
  ],
  ['a record as text', (lines) => lines.with(5, canonicalize({ leaf_index: 12, record: records[12] ?? '' }))],
  [
    'details that the record does not name',
    (lines) => lines.with(5, exportLine(12, records[12] ?? '', { details: { a: 1 } })),
  ],
  ['an index as text', (lines) => lines.with(5, (lines[5] ?? '').replace('"leaf_index":12', '"leaf_index":"12"'))],
  ['another first index', (lines) => [header(lines, (range) => ({ ...range, first: 9 })), ...lines.slice(1)]],
  ['an edge on the left too few', (lines) => [header(lines, (range) => ({ ...range, left: [] })), ...lines.slice(1)]],
  ['an edge on the right too few', (lines) => [header(lines, (range) => ({ ...range, right: [] })), ...lines.slice(1)]],
  [
    'edges of other leaves',
    (lines) => [
      header(lines, (range) => ({ ...range, left: (range['right'] as string[]).slice(0, 1) })),
      ...lines.slice(1),
    ],
  ],
  ['a range without a count', (lines) => [header(lines, ({ count: _, ...range }) => range), ...lines.slice(1)]],
  ['a range that is a list', (lines) => [header(lines, () => []), ...lines.slice(1)]],
  ['a range beyond the log', (lines) => [counted(lines[0], 53), ...lines.slice(1)]],
  ['another format', (lines) => [(lines[0] ?? '').replace('talos.export/v1', 'talos.export/v2'), ...lines.slice(1)]],
  [
    'a checkpoint that is an object',
    (lines) => [(lines[0] ?? '').replace(/"checkpoint":"[^"]*"/, '"checkpoint":{"toString":1}'), ...lines.slice(1)],
  ],
  ['nesting without end', (lines) => lines.with(5, `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)],
  ['no checkpoint', (lines) => [(lines[0] ?? '').replace(/"checkpoint":"[^"]*",/, ''), ...lines.slice(1)]],
];

function renumbered(lines: readonly string[]): string[] {
  return lines.map((line, at) => (at === 0 ? line : line.replace(/"leaf_index":\d+/, `"leaf_index":${7 + at}`)));
}

function counted(line: string | undefined, count: number): string {
  return (line ?? '').replace(/"count":\d+/, `"count":${count}`);
}

function header(lines: readonly string[], change: (range: JsonObject) => unknown): string {
  const json = JSON.parse(lines[0] ?? '') as { range: JsonObject };
  return canonicalize({ ...json, range: change(json.range) } as unknown as JsonObject);
}

describe('an export', () => {
  it('of everything verifies, also when it takes several batches', async () => {
    const log = new TestLog(makeRecords(1_300));
    expect(await verifyExport(await log.exportRange(), trusted)).toMatchObject({ ok: true, records: 1_300 });
  });

  it('of an empty log verifies', async () => {
    expect(await verifyExport(await new TestLog([]).exportRange(), trusted)).toMatchObject({ ok: true, records: 0 });
  });

  it('of any range verifies', async () => {
    for (const [first, count, size] of [
      [0, 60, 60],
      [8, 40, 60],
      [59, 1, 60],
      [0, 1, 60],
      [13, 7, 33],
      [5, 0, 60],
    ] as const) {
      const report = await verifyExport(await honest.exportRange(first, count, size), trusted);
      expect(report).toMatchObject({ ok: true, records: count });
      expect(report.checkpoint?.size).toBe(size);
    }
  });

  it('of a selection verifies, record by record', async () => {
    expect(await verifyExport(await honest.exportSelection([0, 7, 8, 59]), trusted)).toMatchObject({
      ok: true,
      records: 4,
    });
    expect(await verifyExport(await honest.exportSelection([]), trusted)).toMatchObject({ ok: true, records: 0 });
  });

  it.each(edits)('is refused with %s', async (_, edit) => {
    const lines = await honest.exportRange(8, 40);
    expect(lines).toHaveLength(41);
    const report = await verifyExport(edit(lines), trusted);
    expect(report.ok).toBe(false);
    expect(report.checks.some(({ ok }) => !ok)).toBe(true);
  });

  it.each<[string, (lines: string[]) => string[]]>([
    ['a record edited', (lines) => lines.with(2, (lines[2] ?? '').replace('"n":7', '"n":6'))],
    ['another index', (lines) => lines.with(2, (lines[2] ?? '').replace('"leaf_index":7', '"leaf_index":6'))],
    ['another order', (lines) => [lines[0] ?? '', lines[2] ?? '', lines[1] ?? '']],
    ['a record twice', (lines) => lines.toSpliced(2, 0, lines[2] ?? '')],
    ['a record without its proof', (lines) => lines.with(2, exportLine(7, records[7] ?? ''))],
    [
      'the proof of another record',
      (lines) =>
        lines.with(2, (lines[2] ?? '').replace(/"proof":\[.*?\]/, /"proof":\[.*?\]/.exec(lines[3] ?? '')?.[0] ?? '')),
    ],
    ['a record beyond the log', (lines) => [...lines, exportLine(60, records[7] ?? '', { proof: [] })]],
  ])('of a selection is refused with %s', async (_, edit) => {
    const lines = await honest.exportSelection([0, 7, 9]);
    expect((await verifyExport(edit(lines), trusted)).ok).toBe(false);
  });

  it('is refused when its checkpoint is signed by a stranger, though its root is right', async () => {
    const strangers = await trust({ vkeys: [generateNoteKey('gateway.example/log').vkey] });
    const report = await verifyExport(await honest.exportRange(), strangers);
    expect(report.checks.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual(['log_signature']);
  });

  it('says in which line it stopped reading', async () => {
    const lines = await honest.exportRange();
    const { checks } = await verifyExport(lines.with(5, '{}'), trusted);
    expect(checks.find(({ name }) => name === 'lines')?.detail).toBe('Line 6: It is not a line of a talos.export/v1.');
  });

  it('does not hide a fault of the source that it reads', async () => {
    async function* broken(): AsyncGenerator<string> {
      yield (await honest.exportRange())[0] ?? '';
      throw new TypeError('the disk is gone');
    }
    await expect(verifyExport(broken(), trusted)).rejects.toThrow('the disk is gone');
  });
});

describe('linesOf', () => {
  const collect = async (chunks: readonly (string | Uint8Array)[]) => {
    async function* source(): AsyncGenerator<Uint8Array> {
      for (const chunk of chunks) yield Buffer.from(chunk as string);
    }
    const lines: string[] = [];
    for await (const line of linesOf(source())) lines.push(line);
    return lines;
  };

  it('ends lines at newlines only, wherever the chunks end', async () => {
    expect(await collect(['a\nb', 'c\n\nd\r\ne\u2028f\u0085'])).toEqual(['a', 'bc', '', 'd\r', 'e\u2028f\u0085']);
    const [first, second] = [Buffer.from('é\n').subarray(0, 1), Buffer.from('é\n').subarray(1)];
    expect(await collect([first, second])).toEqual(['é']);
    expect(await collect([])).toEqual([]);
  });

  it('refuses what is not UTF-8, also when it is cut at the end', async () => {
    await expect(collect([Buffer.of(0xff)])).rejects.toMatchObject({ name: 'Refusal' });
    await expect(collect([Buffer.of(0xc3)])).rejects.toMatchObject({ name: 'Refusal' });
  });

  it('refuses a line without end', async () => {
    await expect(collect(Array(5).fill('x'.repeat(1024 * 1024)))).rejects.toThrow('A line is too long');
  });
});
