import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cosignatureSigner, cosignatureVerifier, cosignedAtSec, verifierOfKey } from '../../src/core/cosignature.ts';
import { formatNote, type Note, openNote, parseNote, signNote } from '../../src/core/note.ts';
import {
  cosignature,
  formatSignerKey,
  formatVerifierKey,
  generateNoteKey,
  isNoteKeyName,
  noteSigner,
  parseSignerKey,
  parseVerifierKey,
} from '../../src/core/note-key.ts';

// The keys and the note that the documentation of golang.org/x/mod/sumdb/note is written with.
const peterKey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const peterSecret = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz';
const enochKey = 'EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop';
const text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const peterLine =
  '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';
const enochLine =
  '— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n';

const peter = verifierOfKey(peterKey);
const enoch = verifierOfKey(enochKey);
const peterSigner = () => {
  const { name, privateKey } = parseSignerKey(peterSecret);
  return noteSigner(name, privateKey);
};
const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);

describe('the known note', () => {
  it('is made byte for byte by the known key', async () => {
    expect(await signNote({ text, signatures: [] }, [peterSigner()])).toBe(`${text}\n${peterLine}`);
  });

  it('opens with one key of two, and leaves the other signature unknown', () => {
    const opened = openNote(`${text}\n${peterLine}${enochLine}`, [peter]);
    expect(opened.text).toBe(text);
    expect(names(opened.verified)).toEqual(['PeterNeumann']);
    expect(names(opened.unknown)).toEqual(['EnochRoot']);
    expect(opened.unknown[0]?.keyId).toBe(0xaf0cfe78);
  });

  it('opens with both keys, in the order of the note', () => {
    expect(names(openNote(`${text}\n${peterLine}${enochLine}`, [enoch, peter]).verified)).toEqual([
      'PeterNeumann',
      'EnochRoot',
    ]);
  });

  it('counts repeated signatures once', () => {
    const opened = openNote(`${text}\n${peterLine}${peterLine}${enochLine}${enochLine}`, [peter]);
    expect(names(opened.verified)).toEqual(['PeterNeumann']);
    expect(names(opened.unknown)).toEqual(['EnochRoot']);
  });

  it('keeps two different unknown signatures of one key', () => {
    const other = `${enochLine.slice(0, 58)}ABCD${enochLine.slice(58)}`;
    expect(openNote(`${text}\n${peterLine}${enochLine}${other}`, [peter]).unknown).toHaveLength(2);
  });

  it('replaces an older signature of the same key, and keeps those of others before it', async () => {
    const bad = { name: 'PeterNeumann', keyId: 0xc74f20a3, bytes: Buffer.from('bad') };
    const { signatures } = parseNote(`${text}\n${enochLine}`);
    const note = await signNote({ text, signatures: [bad, ...signatures] }, [peterSigner()]);
    expect(note).toBe(`${text}\n${enochLine}${peterLine}`);
  });
});

describe('openNote refuses', () => {
  it.each([
    ['a note of unknown keys only', `${text}\n${enochLine}`, 'has no signature of a known key'],
    ['a known name with another key id', `${text}\n${peterLine.replace('x08go', 'y08go')}`, 'no signature of a known'],
    ['a known key id with another name', `${text}\n${peterLine.replace('Peter', 'Pater')}`, 'no signature of a known'],
    ['another text', `${text.replace('your', 'my')}\n${peterLine}`, 'has a wrong signature of PeterNeumann'],
    ['a longer text', `more\n${text}\n${peterLine}`, 'has a wrong signature'],
    ['a damaged signature', `${text}\n${peterLine.replace('ZJkuBS', 'ZJkuBT')}`, 'has a wrong signature'],
    ['a lengthened signature', `${text}\n${peterLine.slice(0, 58)}ABCD${peterLine.slice(58)}`, 'has a wrong signature'],
    ['a shortened signature', `${text}\n— PeterNeumann x08go/ZJkuBS\n`, 'has a wrong signature'],
  ])('%s', (_, note, sentence) => {
    expect(() => openNote(note, [peter])).toThrow(sentence);
  });

  it('a wrong signature even beside a right one', () => {
    const wrong = enochLine.replace('BzmZa', 'BzmZb');
    expect(() => openNote(`${text}\n${peterLine}${wrong}`, [peter, enoch])).toThrow('a wrong signature of EnochRoot');
  });

  it('to choose between two known keys of one name and id, but only when it must', () => {
    expect(() => openNote(`${text}\n${enochLine}`, [enoch, peter, enoch])).toThrow('two of the known keys');
    expect(names(openNote(`${text}\n${peterLine}`, [enoch, peter, enoch]).verified)).toEqual(['PeterNeumann']);
  });

  it('every note when no key is known', () => {
    expect(() => openNote(`${text}\n${peterLine}`, [])).toThrow('no signature of a known key');
  });
});

describe('parseNote refuses', () => {
  const signature = peterLine.split(' ')[2]?.trimEnd() ?? '';
  it.each([
    ['nothing', ''],
    ['text alone', text],
    ['text and a blank line', `${text}\n`],
    ['no blank line', `${text}${peterLine}`],
    ['a missing last newline', `${text}\n${peterLine.trimEnd()}`],
    ['a control character', `\u0001${text}\n${peterLine}`],
    ['a tab', `a\tb\n\n${peterLine}`],
    ['a carriage return', `${text}\n${peterLine.replace('\n', '\r\n')}`],
    ['a NUL', `a\0b\n\n${peterLine}`],
    ['half a character', `\ud800\n\n${peterLine}`],
    ['a name with a space', `${text}\n— Bad Name ${signature}\n`],
    ['a name with a no-break space', `${text}\n— Bad\u00a0Name ${signature}\n`],
    ['a name with a next-line character', `${text}\n— Bad\u0085Name ${signature}\n`],
    ['a name with a plus sign', `${text}\n— Bad+Name ${signature}\n`],
    ['no name', `${text}\n—  ${signature}\n`],
    ['no signature', `${text}\n— PeterNeumann \n`],
    ['no signature and no space', `${text}\n— PeterNeumann\n`],
    ['a hyphen for the dash', `${text}\n- PeterNeumann ${signature}\n`],
    ['no dash', `${text}\nPeterNeumann ${signature}\n`],
    ['a word after the signature', `${text}\n— PeterNeumann ${signature} more\n`],
    ['a line that is no signature', `${text}\n${peterLine}Unexpected line.\n`],
    ['an empty line after the signatures', `${text}\n${peterLine}\n`],
    ['base64 without padding', `${text}\n— PeterNeumann ${signature.slice(0, -1)}\n`],
    ['base64 with spare bits set', `${text}\n— PeterNeumann ${signature.slice(0, -2)}N=\n`],
    ['base64url', `${text}\n— PeterNeumann ${signature.replaceAll('/', '_')}\n`],
    ['a key id alone', `${text}\n— PeterNeumann x08gow==\n`],
    ['less than a key id', `${text}\n— PeterNeumann x08g\n`],
    ['101 signatures', `${text}\n${peterLine.repeat(101)}`],
    ['more than a mebibyte', `${'x'.repeat(1024 * 1024)}\n\n${peterLine}`],
  ])('%s', (_, note) => {
    expect(() => parseNote(note)).toThrow(/^The signed note /);
  });

  it('but not 100 signatures, nor the text of an example with empty lines', () => {
    expect(parseNote(`${text}\n${peterLine.repeat(100)}`).signatures).toHaveLength(100);
    const poem = 'Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n';
    const line =
      '— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n';
    const note = parseNote(`${poem}\n${line}`);
    expect(note.text).toBe(poem);
    expect(note.signatures[0]).toMatchObject({ name: 'quasimodo.example/salvatore', keyId: 0x367ba04b });
    expect(formatNote(note)).toBe(`${poem}\n${line}`);
  });
});

describe('formatNote', () => {
  it.each([
    ['a text without its last newline', { text: 'abc', signatures: [] }],
    ['a note without signatures', { text, signatures: [] }],
    ['a name with a plus sign', { text, signatures: [{ name: 'a+b', keyId: 1, bytes: Buffer.from('x') }] }],
    ['a name with a newline', { text, signatures: [{ name: 'a\nb', keyId: 1, bytes: Buffer.from('x') }] }],
    ['an empty signature', { text, signatures: [{ name: 'a', keyId: 1, bytes: Buffer.alloc(0) }] }],
    ['a text with a tab', { text: 'a\t\n', signatures: [{ name: 'a', keyId: 1, bytes: Buffer.from('x') }] }],
  ] as const)('refuses %s', (_, note) => {
    expect(() => formatNote(note)).toThrow(/^The signed note /);
  });

  it('writes what parseNote reads, whatever the text', () => {
    const line = fc.string({ unit: 'grapheme' }).filter((part) => !/[\p{Cc}]/u.test(part) && part.isWellFormed());
    const name = fc.string({ minLength: 1, unit: 'grapheme' }).filter(isNoteKeyName);
    const signature = fc.record({
      name,
      keyId: fc.integer({ min: 0, max: 0xffffffff }),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    });
    const notes = fc.record({
      text: fc.array(line, { minLength: 1 }).map((lines) => `${lines.join('\n')}\n`),
      signatures: fc.array(signature, { minLength: 1, maxLength: 3 }),
    });
    fc.assert(
      fc.property(notes, (note: Note) => {
        expect(parseNote(formatNote(note))).toEqual(note);
      }),
    );
  });
});

describe('verifier keys', () => {
  it('round-trip', () => {
    const { name, publicKey } = parseVerifierKey(peterKey);
    expect(formatVerifierKey(name, publicKey)).toBe(peterKey);
  });

  it('are refused when any part is missing, and when any character is another', () => {
    for (let start = 0; start <= peterKey.length; start++) {
      for (let end = start; end <= peterKey.length; end++) {
        if (start === 0 && end === peterKey.length) continue;
        expect(() => parseVerifierKey(peterKey.slice(start, end))).toThrow(/^The note key /);
      }
    }
    for (let at = 0; at < peterKey.length; at++) {
      const next = String.fromCharCode(peterKey.charCodeAt(at) + 1);
      expect(() => parseVerifierKey(peterKey.slice(0, at) + next + peterKey.slice(at + 1))).toThrow(/^The note key /);
    }
  });

  it.each([
    [
      'a key that is too long',
      'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==',
      'base64|length|type',
    ],
    [
      'a type that is not known',
      'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
      'signature type',
    ],
    ['a key id in capitals', peterKey.replace('c74f20a3', 'C74F20A3'), 'is not <name>'],
    ['a line end', `${peterKey}\n`, 'is not <name>'],
    ['a secret key', peterSecret, 'is not <name>|key id'],
    ['a name that is too long', `${'x'.repeat(2_000)}+c74f20a3+ARpc`, 'is not <name>'],
  ])('refuse %s', (_, key, sentence) => {
    expect(() => parseVerifierKey(key)).toThrow(new RegExp(sentence));
  });

  it('never have a name that ends too early', () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    for (const name of ['', 'a b', 'a+b', 'a\nb', 'a\u2003b', '\ud800']) {
      expect(() => formatVerifierKey(name, publicKey)).toThrow('has a name that');
    }
  });

  it('are for Ed25519 only', () => {
    const { publicKey } = generateKeyPairSync('x25519');
    expect(() => formatVerifierKey('x', publicKey)).toThrow('is not an Ed25519 key');
  });
});

describe('signer keys', () => {
  it('round-trip, and belong to their verifier key', () => {
    const { name, privateKey } = parseSignerKey(peterSecret);
    expect(formatSignerKey(name, privateKey)).toBe(peterSecret);
    expect(formatVerifierKey(name, createPublicKey(privateKey))).toBe(peterKey);
  });

  it('are refused when any part is missing, and when any character is another, without being shown', () => {
    for (let at = 0; at < peterSecret.length; at++) {
      const next = String.fromCharCode(peterSecret.charCodeAt(at) + 1);
      for (const wrong of [
        peterSecret.slice(0, at),
        peterSecret.slice(at + 1),
        peterSecret.slice(0, at) + next + peterSecret.slice(at + 1),
      ]) {
        expect(() => parseSignerKey(wrong)).toThrow(/^The note key (?!.*AYEK)/);
      }
    }
  });

  it('are made fresh, as a pair that works', async () => {
    const { skey, vkey } = generateNoteKey('gateway.example/log');
    const { name, privateKey } = parseSignerKey(skey);
    const note = await signNote({ text: 'hi\n', signatures: [] }, [noteSigner(name, privateKey)]);
    expect(openNote(note, [verifierOfKey(vkey)]).text).toBe('hi\n');
    expect(generateNoteKey('gateway.example/log').vkey).not.toBe(vkey);
  });

  it('may answer later, as a key service does', async () => {
    const direct = peterSigner();
    const remote = { ...direct, sign: async (signed: string) => await direct.sign(signed) };
    expect(await signNote({ text, signatures: [] }, [remote])).toBe(`${text}\n${peterLine}`);
  });
});

describe('cosignatures', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const checkpoint = 'gateway.example/log\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
  const verifier = cosignatureVerifier('witness.example/w1', publicKey);
  const signed = async (timeSec: number) =>
    (await cosignatureSigner('witness.example/w1', privateKey, () => timeSec).sign(checkpoint)) as Buffer;

  it('carry the time of the example', () => {
    const line =
      '— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n';
    const [signature] = parseNote(`${checkpoint}\n${line}`).signatures;
    expect(signature?.keyId).toBe(0x8d66cf3f);
    expect(cosignedAtSec(signature?.bytes ?? Buffer.alloc(0))).toBe(1_679_315_147);
  });

  it('are a time and a signature that covers it', async () => {
    const bytes = await signed(1_679_315_147);
    expect(bytes).toHaveLength(72);
    expect(cosignedAtSec(bytes)).toBe(1_679_315_147);
    expect(verifier.verify(checkpoint, bytes)).toBe(true);
  });

  it.each([
    ['another time', (bytes: Buffer) => bytes.writeUInt8(1, 7)],
    ['a time beyond 2^53', (bytes: Buffer) => bytes.writeUInt8(0x7f, 0)],
    ['another signature', (bytes: Buffer) => bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40)],
  ])('fail with %s', async (_, change) => {
    const bytes = await signed(1_679_315_147);
    change(bytes);
    expect(verifier.verify(checkpoint, bytes)).toBe(false);
  });

  it('fail for another text, cut, lengthened, and without their time', async () => {
    const bytes = await signed(1);
    expect(verifier.verify(checkpoint.replace('\n1\n', '\n2\n'), bytes)).toBe(false);
    for (const wrong of [bytes.subarray(8), bytes.subarray(0, 71), Buffer.concat([bytes, Buffer.of(0)])]) {
      expect(cosignedAtSec(wrong)).toBeUndefined();
      expect(verifier.verify(checkpoint, wrong)).toBe(false);
    }
  });

  it('are no plain signatures, and plain signatures are no cosignatures, under one key', async () => {
    const plain = noteSigner('witness.example/w1', privateKey);
    expect(plain.keyId).not.toBe(verifier.keyId);
    const plainBytes = await plain.sign(checkpoint);
    expect(verifier.verify(checkpoint, Buffer.concat([Buffer.alloc(8), plainBytes]))).toBe(false);
    const asNote = verifierOfKey(formatVerifierKey('witness.example/w1', publicKey));
    expect(asNote.verify(checkpoint, (await signed(1)).subarray(8))).toBe(false);
  });

  it('stand on one note beside the signature of the log', async () => {
    const log = generateKeyPairSync('ed25519');
    const note = await signNote({ text: checkpoint, signatures: [] }, [
      noteSigner('gateway.example/log', log.privateKey),
      cosignatureSigner('witness.example/w1', privateKey, () => 5),
    ]);
    const vkey = formatVerifierKey('witness.example/w1', publicKey, cosignature);
    const opened = openNote(note, [
      verifierOfKey(formatVerifierKey('gateway.example/log', log.publicKey)),
      verifierOfKey(vkey),
    ]);
    expect(names(opened.verified)).toEqual(['gateway.example/log', 'witness.example/w1']);
  });

  it('need a name that a note can carry', () => {
    expect(() => cosignatureSigner('a b', privateKey, () => 1)).toThrow('name of the witness');
  });
});
