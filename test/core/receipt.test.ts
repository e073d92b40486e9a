import { beforeAll, describe, expect, it } from 'vitest';
import {
  formatReceipt,
  parseReceipt,
  type Receipt,
  receiptToJson,
  receiptToTlogProof,
} from '../../src/core/receipt.ts';
import { formatTlogProof, parseTlogProof } from '../../src/core/tlog-proof.ts';
import { makeRecords, TestLog } from '../verifier/log.ts';

let receipt: Receipt;
let proofText: string;

beforeAll(async () => {
  receipt = await new TestLog(makeRecords(11)).receipt(6);
  proofText = formatTlogProof(receiptToTlogProof(receipt));
});

describe('a receipt', () => {
  it('is read back as it was written', () => {
    expect(parseReceipt(formatReceipt(receipt))).toEqual(receipt);
    const withDetails = { ...receipt, details: '{"a":[1]}' };
    expect(parseReceipt(formatReceipt(withDetails))).toEqual(withDetails);
    const { eventHash, ...bare } = receipt;
    expect(eventHash).toMatch(/^[0-9a-f]{64}$/);
    expect(parseReceipt(formatReceipt(bare))).toEqual(bare);
  });

  it.each<[string, Record<string, unknown>]>([
    ['another format', { format: 'talos.receipt/v2' }],
    ['no format', { format: undefined }],
    ['a member that is not known', { more: 1 }],
    ['a record that is an object', { record: {} }],
    ['a record that is too long', { record: 'x'.repeat(65_536) }],
    ['no record', { record: undefined }],
    ['an event hash in capitals', { event_hash: 'A'.repeat(64) }],
    ['an event hash that is null', { event_hash: null }],
    ['details that are null', { details: null }],
    ['details that are too long', { details: 'x'.repeat(1024 * 1024 + 1) }],
    ['an index that is the size', { leaf_index: 11 }],
    ['a negative index', { leaf_index: -1 }],
    ['an index between two', { leaf_index: 6.5 }],
    ['an index as text', { leaf_index: '6' }],
    ['no index', { leaf_index: undefined }],
    ['another size than the checkpoint’s', { tree_size: 12 }],
    ['no size', { tree_size: undefined }],
    ['a proof that is no list', { proof: 'abc' }],
    ['a hash that is no text', { proof: [1] }],
    ['a hash that is cut', { proof: ['AAAA'] }],
    ['a hash in hex', { proof: ['00'.repeat(32)] }],
    ['too many hashes', { proof: Array(64).fill(Buffer.alloc(32).toString('base64')) }],
    ['no checkpoint', { checkpoint: undefined }],
    ['a checkpoint that is no note', { checkpoint: 'x\n' }],
    ['a note that is no checkpoint', { checkpoint: 'x\n\n— a AAAAAAAA\n' }],
  ])('is refused with %s', (_, wrong) => {
    const text = JSON.stringify({ ...receiptToJson(receipt), ...wrong });
    expect(() => parseReceipt(text)).toThrow(/^The receipt |^The checkpoint |^The signed note /);
  });

  it.each([
    ['nothing', ''],
    ['a list', '[]'],
    ['null', 'null'],
    ['broken JSON', '{"format":"talos.receipt/v1"'],
    ['a key twice', '{"format":"talos.receipt/v1","format":"talos.receipt/v1"}'],
    ['too much text', ' '.repeat(8 * 1024 * 1024 + 1)],
  ])('is refused as %s', (_, text) => {
    expect(() => parseReceipt(text)).toThrow(/^The JSON |^The receipt /);
  });
});

describe('a tlog-proof', () => {
  it('reads the shape of the specification', () => {
    const hashes = ['gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=', 'B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA='];
    const checkpoint =
      'example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n— example.com/fancylog AAAAAAAA\n';
    const lines = ['c2sp.org/tlog-proof@v1', 'extra YWdl', 'index 73894', ...hashes];
    const text = `${lines.join('\n')}\n\n${checkpoint}`;
    const proof = parseTlogProof(text);
    expect(proof).toEqual({
      extra: Buffer.from('age'),
      index: 73_894,
      hashes: hashes.map((hash) => Buffer.from(hash, 'base64')),
      checkpoint,
    });
    expect(formatTlogProof(proof)).toBe(text);
  });

  it('is read back without extra data and without hashes', async () => {
    const { checkpoint } = await new TestLog(makeRecords(1)).receipt(0);
    const bare = { index: 0, hashes: [], checkpoint };
    expect(parseTlogProof(formatTlogProof(bare))).toEqual(bare);
    expect(parseTlogProof(proofText).extra?.toString()).toBe(receipt.record);
  });

  it.each<[string, (text: string) => string]>([
    ['nothing', () => ''],
    ['another version', (text) => text.replace('@v1', '@v2')],
    ['a line before', (text) => `\n${text}`],
    ['Windows line ends', (text) => text.replaceAll('\n', '\r\n')],
    ['no index', (text) => text.replace(/index \d+\n/, '')],
    ['a leading zero', (text) => text.replace('index 6', 'index 06')],
    ['a negative index', (text) => text.replace('index 6', 'index -6')],
    ['an index beyond 2^53', (text) => text.replace('index 6', 'index 9007199254740992')],
    ['a space after the index', (text) => text.replace('index 6', 'index 6 ')],
    ['extra data that is not base64', (text) => text.replace(/extra .*/, 'extra !')],
    ['extra data twice', (text) => text.replace(/(extra .*\n)/, '$1$1')],
    ['extra data after the index', (text) => text.replace(/(extra .*\n)(index 6\n)/, '$2$1')],
    ['a hash that is cut', (text) => text.replace(/(index 6\n....)/, '$1\n')],
    ['64 hashes', (text) => text.replace('index 6\n', `index 6\n${`${'A'.repeat(43)}=\n`.repeat(64)}`)],
    ['no checkpoint', (text) => text.slice(0, text.indexOf('\n\n') + 2)],
    ['no empty line', (text) => text.replace('\n\n', '\n')],
    ['an empty line too many', (text) => text.replace('index 6\n', 'index 6\n\n')],
    ['a checkpoint that is cut', (text) => text.slice(0, -3)],
    ['more after the checkpoint', (text) => `${text}more\n`],
    ['too much text', (text) => text + 'x'.repeat(2 * 1024 * 1024)],
  ])('is refused with %s', (_, change) => {
    expect(() => parseTlogProof(change(proofText))).toThrow(/^The proof |^The signed note |^The checkpoint /);
  });
});
