import { describe, expect, it } from 'vitest';
import { LruMap } from '../../src/core/lru-map.ts';

describe('LruMap', () => {
  it('forgets what was used longest ago, and counts it', () => {
    const map = new LruMap<number>(2);
    map.set('a', 1);
    map.set('b', 2);
    expect(map.get('a')).toBe(1);
    map.set('c', 3);
    expect([map.get('a'), map.get('b'), map.get('c')]).toEqual([1, undefined, 3]);
    expect([map.size, map.evictions]).toEqual([2, 1]);
  });

  it('forgets nothing when a known key gets a new value', () => {
    const map = new LruMap<number>(2);
    map.set('a', 1);
    map.set('b', 2);
    map.set('a', 3);
    expect([map.get('a'), map.get('b'), map.evictions]).toEqual([3, 2, 0]);
  });

  it('counts what was deleted as no eviction', () => {
    const map = new LruMap<number>(2);
    map.set('a', 1);
    map.delete('a');
    map.delete('never there');
    expect([map.get('a'), map.size, map.evictions]).toEqual([undefined, 0, 0]);
  });
});
