import { beforeAll, describe, expect, it } from 'vitest';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { formatReceipt, type Receipt, receiptToJson, receiptToTlogProof } from '../../src/core/receipt.ts';
import { formatTlogProof } from '../../src/core/tlog-proof.ts';
import { type Report, type Trust, trust, verifyReceipt } from '../../verifier/index.ts';
import { base64, logKey, makeRecords, TestLog } from './log.ts';

const log = new TestLog(makeRecords(37));
let trusted: Trust;
let receipt: Receipt;

beforeAll(async () => {
  trusted = await trust({ vkeys: [logKey] });
  receipt = await log.receipt(20);
});

const failed = (report: Report) => report.checks.filter(({ ok }) => !ok).map(({ name }) => name);
const verify = (text: string) => verifyReceipt(text, trusted);
const changed = (change: Partial<Record<keyof Receipt, unknown>>) =>
  formatReceipt({ ...receipt, ...change } as Receipt);

/** A log of one record, and its receipt: every other check holds. */
async function receiptOf(record: string): Promise<string> {
  return formatReceipt(await new TestLog([record]).receipt(0));
}

describe('a receipt of the gateway', () => {
  it('verifies for every record, and tells what was proven', async () => {
    for (let index = 0; index < log.records.length; index++) {
      const report = await verify(formatReceipt(await log.receipt(index)));
      expect(failed(report)).toEqual([]);
      expect(report).toMatchObject({ ok: true, leafIndex: index, record: JSON.parse(log.records[index] ?? '') });
      expect(report.checkpoint?.size).toBe(37);
    }
  });

  it('verifies against an earlier checkpoint that covers it', async () => {
    expect(await verify(formatReceipt(await log.receipt(20, 21)))).toMatchObject({ ok: true });
  });

  it('verifies as an object, indented, and as a tlog-proof', async () => {
    const json = receiptToJson(receipt);
    for (const form of [
      json as never,
      JSON.stringify(json, undefined, 2),
      formatTlogProof(receiptToTlogProof(receipt)),
    ]) {
      expect(await verifyReceipt(form, trusted)).toMatchObject({ ok: true, leafIndex: 20 });
    }
  });

  it('verifies with details that the record names', async () => {
    const details = canonicalize({ b: [1, 2], a: { deep: 'é' } });
    const record = canonicalize({ event_id: 'e', meta: { details_hash: sha256Hex(details) } });
    const own = { ...(await new TestLog([record]).receipt(0)), details };
    expect(failed(await verify(formatReceipt(own)))).toEqual([]);
    expect(failed(await verify(formatReceipt({ ...own, details: `${details} ` })))).toEqual(['details']);
  });
});

describe('a receipt fails', () => {
  it.each([
    ['another record', { record: log.records[21] }, ['event_hash', 'inclusion']],
    ['an edited record', { record: log.records[20]?.replace('e20', 'f20') }, ['event_hash', 'inclusion']],
    ['a record with white space', { record: `${log.records[20]} ` }, ['record', 'event_hash', 'inclusion']],
    ['another event hash', { eventHash: '0'.repeat(64) }, ['event_hash']],
    ['details that the record does not name', { details: '{}' }, ['details']],
    ['another index', { leafIndex: 21 }, ['inclusion']],
    ['an index that is the size', { leafIndex: 37 }, ['inclusion']],
    ['another size', { treeSize: 36 }, ['inclusion']],
    ['a size beyond the checkpoint', { treeSize: 38 }, ['inclusion']],
    ['no proof', { proof: [] }, ['inclusion']],
    ['a proof with a hash too many', { proof: Array(7).fill(Buffer.alloc(32)) }, ['inclusion']],
  ])('with %s', async (_, change, names) => {
    const report = await verify(changed(change));
    expect(report.ok).toBe(false);
    expect(failed(report)).toEqual(names);
    expect(report.record).toBeUndefined();
  });

  it('with the checkpoint of another size, of another log, or none', async () => {
    expect(failed(await verify(changed({ checkpoint: await log.checkpoint(30) })))).toEqual(['inclusion']);
    const other = await new TestLog(makeRecords(37, 'x')).checkpoint();
    expect(failed(await verify(changed({ checkpoint: other })))).toEqual(['inclusion']);
    expect(failed(await verify(changed({ checkpoint: 'none' })))).toEqual(['checkpoint']);
  });

  it('with any bit of the proof turned over', async () => {
    for (let at = 0; at < receipt.proof.length; at++) {
      for (let bit = 0; bit < 256; bit += 37) {
        const proof = receipt.proof.map((hash) => Buffer.from(hash));
        const hash = proof[at] as Buffer;
        hash.writeUInt8(hash.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        expect(failed(await verify(changed({ proof })))).toEqual(['inclusion']);
      }
    }
  });

  it('with any one character of it changed', async () => {
    const text = formatReceipt(receipt);
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === 'A' ? 'B' : 'A';
      const report = await verify(text.slice(0, at) + other + text.slice(at + 1));
      expect(report.ok, `position ${at}`).toBe(false);
    }
  });

  it('cut anywhere', async () => {
    const text = formatReceipt(receipt);
    for (let end = 0; end < text.length; end++) expect(await verify(text.slice(0, end))).toMatchObject({ ok: false });
  });
});

describe('a receipt is not read', () => {
  const json = () => receiptToJson(receipt);
  it.each<[string, () => string]>([
    ['that is nothing', () => ''],
    ['that is null', () => 'null'],
    ['that is a list', () => '[]'],
    ['of another format', () => JSON.stringify({ ...json(), format: 'talos.receipt/v2' })],
    ['with an unknown member', () => JSON.stringify({ ...json(), more: true })],
    ['with a key twice', () => JSON.stringify(json()).replace('{', '{"record":"{}",')],
    ['with a key twice, once escaped', () => JSON.stringify(json()).replace('{', '{"r\\u0065cord":"{}",')],
    ['with a record that is an object', () => JSON.stringify({ ...json(), record: {} })],
    ['with a checkpoint that is a number', () => JSON.stringify({ ...json(), checkpoint: 1 })],
    ['with an index as text', () => JSON.stringify({ ...json(), leaf_index: '20' })],
    ['with a negative index', () => JSON.stringify({ ...json(), leaf_index: -1 })],
    ['with an index between two', () => JSON.stringify({ ...json(), leaf_index: 20.5 })],
    ['with a size beyond 2^53', () => JSON.stringify({ ...json(), tree_size: 2 ** 53 })],
    ['with a proof that is text', () => JSON.stringify({ ...json(), proof: 'x' })],
    ['with 65 hashes', () => JSON.stringify({ ...json(), proof: base64(Array(65).fill(Buffer.alloc(32))) })],
    ['with a hash of 31 bytes', () => JSON.stringify({ ...json(), proof: base64([Buffer.alloc(31)]) })],
    ['with a hash that is not canonical base64', () => JSON.stringify({ ...json(), proof: [`${'A'.repeat(42)}B=`] })],
    ['with a hash that is an object', () => JSON.stringify({ ...json(), proof: [{ toString: 1 }] })],
    ['nested deeper than any record', () => JSON.stringify(json()).replace('{', `{"details":${nested(101)},`)],
    ['nested beyond any stack', () => `{"a":${nested(1_000_000)}}`],
    ['that is too long', () => `${JSON.stringify(json())}${' '.repeat(8 * 1024 * 1024)}`],
    ['that is a tlog-proof of another version', () => tlogProof().replace('@v1', '@v2')],
    ['that is a tlog-proof without the record', () => tlogProof().replace(/extra .*\n/, '')],
    ['that is a tlog-proof without an index', () => tlogProof().replace(/index .*\n/, '')],
    ['that is a tlog-proof with a leading zero', () => tlogProof().replace('index ', 'index 0')],
  ])('%s', async (_, text) => {
    const report = await verify(text());
    expect(failed(report)).toEqual(['format']);
    expect(report.checks).toHaveLength(1);
  });

  function nested(depth: number): string {
    return '['.repeat(depth) + ']'.repeat(depth);
  }

  function tlogProof(): string {
    return formatTlogProof(receiptToTlogProof(receipt));
  }
});

describe('a record that could be read in two ways is refused even when the log holds it', () => {
  it.each([
    ['a key twice', '{"a":1,"a":2}'],
    ['keys out of order', '{"b":1,"a":2}'],
    ['white space', '{"a": 1}'],
    ['an escape that is not needed', '{"a":"\\u0062"}'],
    ['half a character', '{"a":"\\ud800"}'],
    ['an integer beyond 2^53', '{"a":9007199254740993}'],
    ['a fraction that is none', '{"a":1.0}'],
    ['an exponent', '{"a":1e2}'],
    ['a negative zero', '{"a":-0}'],
    ['a number without end', '{"a":1e400}'],
    ['nesting without end', `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`],
    ['no object', '"a"'],
    ['no JSON', 'a'],
    ['nothing', ''],
  ])('%s', async (_, record) => {
    expect(failed(await verify(await receiptOf(record)))).toEqual(['record']);
  });

  it.each([
    ['keys that look like numbers', '{"10":1,"9":2}'],
    ['keys beyond the basic plane', '{"\ud83d\ude00":1,"\ufb33":2}'],
    ['a key that is a prototype', '{"__proto__":{"a":1},"a":2}'],
    ['a line separator', '{"a":"\u2028"}'],
  ])('but not with %s', async (_, record) => {
    expect(failed(await verify(await receiptOf(record)))).toEqual([]);
  });

  it('and the same bytes are what the gateway writes', () => {
    for (const text of ['{"10":1,"9":2}', '{"__proto__":{"a":1},"a":2}']) {
      expect(canonicalize(JSON.parse(text) as JsonObject)).toBe(text);
    }
  });
});
