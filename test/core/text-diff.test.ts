/** Unified diffs: what they show is what `patch` would make of the one text into the other. */
import { describe, expect, it } from 'vitest';
import { unifiedDiff } from '../../src/core/text-diff.ts';

const options = { from: 'a', to: 'b', context: 1, cellsMax: 1_000 };
const lines = (...texts: string[]) => texts.join('\n');

describe('a unified diff', () => {
  it('says nothing of texts that are alike', () => {
    expect(unifiedDiff('same\n', 'same\n', options)).toBe('');
    expect(unifiedDiff('', '', options)).toBe('');
  });

  it('shows what changed with what is around it, and nothing that is further away', () => {
    const before = lines('1', '2', '3', '4', '5', '6', '7', '8', '9');
    const after = lines('1', '2', 'three', '4', '5', '6', '7', '9', '10');
    expect(unifiedDiff(before, after, options)).toBe(
      lines(
        '--- a',
        '+++ b',
        '@@ -2,3 +2,3 @@',
        ' 2',
        '-3',
        '+three',
        ' 4',
        '@@ -7,3 +7,3 @@',
        ' 7',
        '-8',
        ' 9',
        '+10',
        '',
      ),
    );
  });

  it('counts from the line before where one side has none', () => {
    expect(unifiedDiff('x', lines('new', 'x'), { ...options, context: 0 })).toBe(
      lines('--- a', '+++ b', '@@ -0,0 +1,1 @@', '+new', ''),
    );
    expect(unifiedDiff(lines('x', 'old'), 'x', { ...options, context: 0 })).toBe(
      lines('--- a', '+++ b', '@@ -2,1 +1,0 @@', '-old', ''),
    );
  });

  it('finds the lines that both have when they moved apart', () => {
    const diff = unifiedDiff(lines('a', 'b', 'c', 'd'), lines('x', 'b', 'y', 'd', 'z'), options);
    expect(diff.split('\n').filter((line) => line.startsWith(' '))).toEqual([' b', ' d']);
  });

  it('does not compare what is too much: it is one change then', () => {
    const before = lines('a', 'b', 'c');
    const after = lines('x', 'b', 'y');
    expect(unifiedDiff(before, after, { ...options, cellsMax: 8 })).toBe(
      lines('--- a', '+++ b', '@@ -1,3 +1,3 @@', '-a', '-b', '-c', '+x', '+b', '+y', ''),
    );
  });
});
