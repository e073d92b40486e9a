import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineFramer, LineTooLong } from '../../src/mcp/duplex/line-framer.ts';

function framed(chunks: readonly Buffer[], lineBytesMax = 1_000): string[] {
  const lines: string[] = [];
  const framer = new LineFramer(lineBytesMax, (line) => lines.push(line.toString('utf8')));
  for (const chunk of chunks) framer.push(chunk);
  return lines;
}

describe('LineFramer', () => {
  it('gives the same lines however the bytes are cut', () => {
    const lines = fc.array(
      fc.string({ maxLength: 20 }).map((text) => text.replace(/[\r\n]/g, '')),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(lines, fc.array(fc.nat(500)), (texts, cuts) => {
        const bytes = Buffer.from(texts.map((text) => `${text}\n`).join(''));
        const ends = [...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
        const chunks = ends.map((end, at) => bytes.subarray(ends[at - 1] ?? 0, end));
        expect(framed(chunks)).toEqual(texts.map((text) => Buffer.from(text).toString('utf8')));
      }),
    );
  });

  it('takes a CR before the LF for a part of the end, and no other', () => {
    expect(framed([Buffer.from('a\r\nb\rc\n\r\n')])).toEqual(['a', 'b\rc', '']);
  });

  it('keeps what has no end to itself', () => {
    expect(framed([Buffer.from('a\nhalf a line')])).toEqual(['a']);
  });

  it('does not copy a line that came in one piece', () => {
    const chunk = Buffer.from('one\ntwo\n');
    const lines: Buffer[] = [];
    new LineFramer(100, (line) => lines.push(line)).push(chunk);
    expect(lines.map((line) => line.buffer)).toEqual([chunk.buffer, chunk.buffer]);
  });

  it('refuses a line over the bound before its end has come', () => {
    expect(framed([Buffer.from('12345\n')], 5)).toEqual(['12345']);
    expect(() => framed([Buffer.from('123456')], 5)).toThrow(LineTooLong);
    expect(() => framed([Buffer.from('123'), Buffer.from('456')], 5)).toThrow(LineTooLong);
    expect(() => framed([Buffer.from('ok\n123456\n')], 5)).toThrow(LineTooLong);
  });
});
