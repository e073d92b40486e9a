import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { signNote } from '../../src/core/note.ts';
import { formatVerifierKey, generateNoteKey, noteSigner } from '../../src/core/note-key.ts';
import { formatReceipt } from '../../src/core/receipt.ts';
import { type TrustSource, trust, verifyReceipt } from '../../verifier/index.ts';
import { logKey, logSigner, makeRecords, makeWitness, origin, TestLog, type TestWitness } from './log.ts';

const log = new TestLog(makeRecords(5));
const [x1, x2, x3, y1] = ['x1', 'x2', 'x3', 'y1'].map((name) => makeWitness(`witness.example/${name}`)) as [
  TestWitness,
  TestWitness,
  TestWitness,
  TestWitness,
];
let bare: string;

beforeAll(async () => {
  bare = formatReceipt(await log.receipt(2));
});

const cosigned = async (...witnesses: TestWitness[]) =>
  formatReceipt(await log.receipt(2, 5, [logSigner, ...witnesses.map(({ signer }) => signer)]));

async function faults(text: string, source: TrustSource): Promise<string[]> {
  const { ok, checks } = await verifyReceipt(text, await trust(source));
  expect(ok).toBe(checks.every((check) => check.ok));
  return checks.filter((check) => !check.ok).map(({ name }) => name);
}

describe('the key of the log', () => {
  it('must be the one that signed', async () => {
    expect(await faults(bare, { vkeys: [generateNoteKey(origin).vkey] })).toEqual(['log_signature']);
    expect(await faults(bare, { vkeys: [generateNoteKey(origin).vkey, logKey] })).toEqual([]);
  });

  it('must be named after the origin', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const other = noteSigner('other.example/log', privateKey);
    const vkey = formatVerifierKey('other.example/log', createPublicKey(privateKey));
    const text = formatReceipt(await log.receipt(2, 5, [other]));
    expect(await faults(text, { vkeys: [vkey] })).toEqual(['log_signature']);
  });

  it('spoils the note when its signature is wrong, even beside a right one', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const next = noteSigner(origin, privateKey);
    const vkey = formatVerifierKey(origin, createPublicKey(privateKey));
    const receipt = await log.receipt(2, 5, [logSigner, { ...next, sign: () => Buffer.alloc(64) }]);
    expect(await faults(formatReceipt(receipt), { vkeys: [logKey, vkey] })).toEqual(['log_signature']);
    expect(await faults(formatReceipt(receipt), { vkeys: [logKey] })).toEqual([]);
  });

  it('may be rotated: either of two signatures is enough', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const text = formatReceipt(await log.receipt(2, 5, [logSigner, noteSigner(origin, privateKey)]));
    for (const vkey of [logKey, formatVerifierKey(origin, createPublicKey(privateKey))]) {
      expect(await faults(text, { vkeys: [vkey] })).toEqual([]);
    }
  });

  it.each([
    ['no key', []],
    ['text that is no key', ['x']],
    ['a key without its id', [logKey.replace(/\+[0-9a-f]{8}\+/, '+')]],
    ['a key with the id of another name', [logKey.replace(origin, 'other.example')]],
    ['a key that is cut', [logKey.slice(0, -4)]],
    ['a key that is damaged', [logKey.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))]],
    ['the same key twice', [logKey, logKey]],
    ['a secret key', [generateNoteKey('a').skey]],
    ['a witness alone', [x1.vkey]],
    ['a name with a space', [logKey.replace('/', ' ')]],
    ['a type that is not known', ['PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW']],
  ])('is refused as %s', async (_, vkeys) => {
    await expect(trust({ vkeys })).rejects.toMatchObject({ name: 'Refusal' });
  });

  it('is the known one of the known note', async () => {
    const peter = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    const [key] = (await trust({ vkeys: [peter] })).logs;
    const text =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const line = 'x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=';
    const signature = new Uint8Array(Buffer.from(line, 'base64').subarray(4));
    expect(await key?.verify(text, signature)).toBe(0);
    expect(await key?.verify(`${text} `, signature)).toBeUndefined();
    expect(await key?.verify(text, signature.slice(1))).toBeUndefined();
  });
});

describe('witnesses given by key', () => {
  const vkeys = [logKey, x1.vkey, x2.vkey];

  it('must all have cosigned, unless a smaller quorum is asked for', async () => {
    expect(await faults(await cosigned(x1, x2), { vkeys })).toEqual([]);
    expect(await faults(await cosigned(x1), { vkeys })).toEqual(['witnesses']);
    expect(await faults(await cosigned(x1), { vkeys, quorum: 1 })).toEqual([]);
    expect(await faults(bare, { vkeys, quorum: 1 })).toEqual(['witnesses']);
    expect(await faults(bare, { vkeys, quorum: 0 })).toEqual([]);
  });

  it('count once each, and strangers not at all', async () => {
    expect(await faults(await cosigned(x1, x1, x3), { vkeys })).toEqual(['witnesses']);
  });

  it('spoil the note when a cosignature is wrong', async () => {
    const lying = { ...x1, signer: { ...x1.signer, sign: () => Buffer.alloc(72, 1) } };
    expect(await faults(await cosigned(lying, x2), { vkeys, quorum: 1 })).toEqual(['witnesses']);
    const short = { ...x1, signer: { ...x1.signer, sign: () => Buffer.alloc(64, 1) } };
    expect(await faults(await cosigned(short, x2), { vkeys, quorum: 1 })).toEqual(['witnesses']);
  });

  it('spoil the note when a cosignature has no room for a time', async () => {
    const tiny = { ...x1, signer: { ...x1.signer, sign: () => Buffer.alloc(3, 1) } };
    expect(await faults(await cosigned(tiny, x2), { vkeys, quorum: 1 })).toEqual(['witnesses']);
  });

  it('speak by their first line, whatever follows under their name', async () => {
    const { checkpoint, ...receipt } = await log.receipt(2, 5, [logSigner, x1.signer, x2.signer]);
    const line = checkpoint.split('\n').find((text) => text.startsWith(`— ${x1.signer.name} `)) ?? '';
    const wrong = `${line.slice(0, -8)}AAAAAAA=`;
    const after = formatReceipt({ ...receipt, checkpoint: `${checkpoint}${wrong}\n` });
    expect(await faults(after, { vkeys })).toEqual([]);
    const before = formatReceipt({ ...receipt, checkpoint: checkpoint.replace(line, `${wrong}\n${line}`) });
    expect(await faults(before, { vkeys })).toEqual(['witnesses']);
  });

  it('do not stand in for the log', async () => {
    const receipt = formatReceipt(await log.receipt(2, 5, [x1.signer, x2.signer]));
    expect(await faults(receipt, { vkeys })).toEqual(['log_signature']);
  });

  it('are told with the time that they signed', async () => {
    const { checks } = await verifyReceipt(await cosigned(x1), await trust({ vkeys: [logKey, x1.vkey] }));
    expect(checks.find(({ name }) => name === 'witnesses')?.detail).toContain('2023-11-14T22:13:20.000Z');
  });

  it('of a time that no calendar has are told too', async () => {
    const late = makeWitness('witness.example/late', Number.MAX_SAFE_INTEGER);
    expect(await faults(await cosigned(late), { vkeys: [logKey, late.vkey] })).toEqual([]);
  });

  it.each([3, -1, Number.NaN])('cannot have a quorum of %d of two', async (quorum) => {
    await expect(trust({ vkeys, quorum })).rejects.toThrow('There are not');
  });
});

const policy = `# Who is believed.
log ${logKey} https://gateway.example/log

witness X1 ${x1.vkey}
witness X2 ${x2.vkey} https://x2.example/
witness\tX3\t${x3.vkey}
 group X-witnesses 2 X1 X2 X3
witness Y1 ${y1.vkey}
group X-and-Y all X-witnesses Y1
quorum X-and-Y
`;

describe('a policy', () => {
  it.each<[string, TestWitness[], boolean]>([
    ['two of three and the other group', [x1, x3, y1], true],
    ['all', [x1, x2, x3, y1], true],
    ['one of three', [x1, y1], false],
    ['no other group', [x1, x2, x3], false],
    ['nobody', [], false],
  ])('with groups: %s', async (_, witnesses, isEnough) => {
    expect(await faults(await cosigned(...witnesses), { policy })).toEqual(isEnough ? [] : ['witnesses']);
  });

  it.each<[string, string, TestWitness[], boolean]>([
    ['none', `log ${logKey}\nquorum none`, [], true],
    ['a single witness', `log ${logKey}\nwitness w ${x1.vkey}\nquorum w`, [x1], true],
    ['a single witness that is missing', `log ${logKey}\nwitness w ${x1.vkey}\nquorum w`, [x2], false],
    ['any', `log ${logKey}\nwitness a ${x1.vkey}\nwitness b ${x2.vkey}\ngroup g any a b\nquorum g`, [x2], true],
  ])('with the quorum %s', async (_, text, witnesses, isEnough) => {
    expect(await faults(await cosigned(...witnesses), { policy: text })).toEqual(isEnough ? [] : ['witnesses']);
  });

  it.each([
    ['nothing', ''],
    ['no quorum', `log ${logKey}\n`],
    ['no log', 'quorum none\n'],
    ['two quorums', `log ${logKey}\nquorum none\nquorum none\n`],
    ['a quorum without a name', `log ${logKey}\nquorum\n`],
    ['a quorum of two names', `log ${logKey}\nquorum none none\n`],
    ['a quorum that is not defined', `log ${logKey}\nquorum w\n`],
    ['a quorum before its witness', `log ${logKey}\nquorum w\nwitness w ${x1.vkey}\n`],
    ['a log without a key', 'log\nquorum none\n'],
    ['a log with too many words', `log ${logKey} url more\nquorum none\n`],
    ['a log twice', `log ${logKey}\nlog ${logKey}\nquorum none\n`],
    ['a log that is a witness', `log ${x1.vkey}\nquorum none\n`],
    ['a witness that is a log', `log ${logKey}\nwitness w ${generateNoteKey('w').vkey}\nquorum w\n`],
    ['a witness without a key', `log ${logKey}\nwitness w\nquorum w\n`],
    ['a witness with too many words', `log ${logKey}\nwitness w ${x1.vkey} url more\nquorum w\n`],
    ['a witness named none', `log ${logKey}\nwitness none ${x1.vkey}\nquorum none\n`],
    ['a key under two names', `log ${logKey}\nwitness a ${x1.vkey}\nwitness b ${x1.vkey}\nquorum a\n`],
    ['a name for two keys', `log ${logKey}\nwitness a ${x1.vkey}\nwitness a ${x2.vkey}\nquorum a\n`],
    ['a group without members', `log ${logKey}\ngroup g all\nquorum g\n`],
    ['a group of any without members', `log ${logKey}\ngroup g any\nquorum g\n`],
    ['a group of none', `log ${logKey}\ngroup g any none\nquorum g\n`],
    ['a group of itself', `log ${logKey}\ngroup g any g\nquorum g\n`],
    ['a group of what is not defined', `log ${logKey}\ngroup g any w\nquorum g\n`],
    ['a threshold of 0', `log ${logKey}\nwitness a ${x1.vkey}\ngroup g 0 a\nquorum g\n`],
    ['a threshold beyond the members', `log ${logKey}\nwitness a ${x1.vkey}\ngroup g 2 a\nquorum g\n`],
    ['a threshold in hexadecimal', `log ${logKey}\nwitness a ${x1.vkey}\ngroup g 0x1 a\nquorum g\n`],
    ['a member twice', `log ${logKey}\nwitness a ${x1.vkey}\ngroup g 2 a a\nquorum g\n`],
    ['a member of two groups', `log ${logKey}\nwitness a ${x1.vkey}\ngroup g any a\ngroup h any a g\nquorum h\n`],
    ['a word that is not known', `log ${logKey}\nallow all\nquorum none\n`],
    ['a word in capitals', `LOG ${logKey}\nquorum none\n`],
    ['a carriage return', `log ${logKey}\r\nquorum none\r\n`],
    ['a NUL', `log ${logKey}\nquorum none\n\0`],
    ['too much text', `log ${logKey}\nquorum none\n${'#'.repeat(300_000)}`],
  ])('is refused with %s', async (_, text) => {
    await expect(trust({ policy: text })).rejects.toMatchObject({ name: 'Refusal' });
  });

  it('does not read an unsigned note as if nobody had to sign', async () => {
    const note = await log.checkpoint(5, [x1.signer]);
    const unsigned = JSON.parse(bare) as { checkpoint: string };
    unsigned.checkpoint = note;
    expect(await faults(JSON.stringify(unsigned), { policy: `log ${logKey}\nquorum none` })).toEqual(['log_signature']);
    await expect(signNote({ text: 'x\n', signatures: [] }, [])).rejects.toThrow('has no signature lines');
  });
});
