import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { BytePieces } from '../../src/mcp/duplex/byte-pieces.ts';

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

describe('BytePieces', () => {
  it('gives one piece as it came, and many as one', () => {
    const pieces = new BytePieces(1_000);
    const only = Buffer.from('only');
    pieces.add(only);
    expect(pieces.take()).toBe(only);
    const text = 'a'.repeat(300).replaceAll('a', (_, at: number) => String(at % 10));
    for (const letter of text) pieces.add(Buffer.from(letter));
    expect(pieces.take().toString()).toBe(text);
    expect(pieces.take()).toHaveLength(0);
  });

  it('takes up to its bound and begins anew', () => {
    const pieces = new BytePieces(3);
    expect([pieces.add(Buffer.from('ab')), pieces.add(Buffer.from('cd')), pieces.add(Buffer.from('c'))]).toEqual([
      true,
      false,
      true,
    ]);
    expect(pieces.take().toString()).toBe('abc');
    expect(pieces.add(Buffer.from('abc'))).toBe(true);
  });

  it('does not hold on to the buffers that small pieces were cut from', () => {
    const pieces = new BytePieces(10_000);
    const chunkBytes = 64 * 1024;
    const before = process.memoryUsage().arrayBuffers;
    for (let at = 0; at < 4_000; at++) pieces.add(Buffer.alloc(chunkBytes).subarray(0, 1));
    collectGarbage();
    // All of them together are 256 MB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(128 * 1024 * 1024);
    expect(pieces.take()).toHaveLength(4_000);
  });
});
