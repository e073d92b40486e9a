import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCheckpoint, parseCheckpoint } from '../../src/core/checkpoint.ts';

// The example of the specification.
const root = 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=';
const example = `example.com/behind-the-sofa\n20852163\n${root}\n`;

describe('parseCheckpoint', () => {
  it('reads the example', () => {
    expect(parseCheckpoint(example)).toEqual({
      origin: 'example.com/behind-the-sofa',
      size: 20_852_163,
      root: Buffer.from(root, 'base64'),
      extensions: [],
    });
  });

  it('reads the empty tree, the largest size and extension lines', () => {
    expect(parseCheckpoint(`a log with spaces\n0\n${root}\n`)).toMatchObject({ origin: 'a log with spaces', size: 0 });
    expect(parseCheckpoint(`x\n9007199254740991\n${root}\n`).size).toBe(Number.MAX_SAFE_INTEGER);
    expect(parseCheckpoint(`${example}one\ntwo\n`).extensions).toEqual(['one', 'two']);
  });

  it.each([
    ['nothing', ''],
    ['a newline', '\n'],
    ['no last newline', example.trimEnd()],
    ['no origin', `\n1\n${root}\n`],
    ['no root', 'x\n1\n'],
    ['no size', `x\n${root}\n`],
    ['an empty size', `x\n\n${root}\n`],
    ['a leading zero', `x\n01\n${root}\n`],
    ['two zeroes', `x\n00\n${root}\n`],
    ['a plus sign', `x\n+1\n${root}\n`],
    ['a negative size', `x\n-1\n${root}\n`],
    ['a fraction', `x\n1.0\n${root}\n`],
    ['an exponent', `x\n1e3\n${root}\n`],
    ['a hexadecimal size', `x\n0x10\n${root}\n`],
    ['a space before the size', `x\n 1\n${root}\n`],
    ['a space after the size', `x\n1 \n${root}\n`],
    ['digits of another script', `x\n١\n${root}\n`],
    ['a size beyond 2^53', `x\n9007199254740992\n${root}\n`],
    ['a size of many digits', `x\n${'9'.repeat(400)}\n${root}\n`],
    ['a root that is cut', `x\n1\n${root.slice(0, -5)}=\n`],
    ['a root without padding', `x\n1\n${root.slice(0, -1)}\n`],
    ['a root with spare bits set', `x\n1\n${root.slice(0, -2)}J=\n`],
    ['a root in base64url', `x\n1\n${root.replace('/', '_')}\n`],
    ['a root in hex', `x\n1\n${'0a'.repeat(32)}\n`],
    ['an empty extension line', `${example}\n`],
    ['an empty line between extensions', `${example}one\n\ntwo\n`],
  ])('refuses %s', (_, text) => {
    expect(() => parseCheckpoint(text)).toThrow(/^The checkpoint /);
  });
});

describe('formatCheckpoint', () => {
  it.each([
    ['an empty origin', { origin: '' }],
    ['an origin with a line break', { origin: 'a\nb' }],
    ['an origin that forges a size', { origin: `a\n7\n${root}` }],
    ['a fraction of a leaf', { size: 1.5 }],
    ['a negative size', { size: -1 }],
    ['a size that is no number', { size: Number.NaN }],
    ['a size beyond 2^53', { size: 2 ** 53 }],
    ['a root that is cut', { root: Buffer.alloc(31) }],
    ['a root that is too long', { root: Buffer.alloc(33) }],
    ['an empty extension', { extensions: [''] }],
    ['an extension with a line break', { extensions: ['a\nb'] }],
  ])('refuses %s', (_, wrong) => {
    expect(() => formatCheckpoint({ origin: 'x', size: 1, root: Buffer.alloc(32), ...wrong })).toThrow(
      /^The checkpoint /,
    );
  });

  it('writes what parseCheckpoint reads', () => {
    const line = fc.string({ minLength: 1 }).filter((part) => !part.includes('\n'));
    const checkpoints = fc.record({
      origin: line,
      size: fc.maxSafeNat(),
      root: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
      extensions: fc.array(line, { maxLength: 2 }),
    });
    fc.assert(
      fc.property(checkpoints, (given) => {
        expect(parseCheckpoint(formatCheckpoint(given))).toEqual(given);
      }),
    );
  });
});
