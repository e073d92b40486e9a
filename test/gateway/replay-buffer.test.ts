import { describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { type ReplayBudget, ReplayBuffer } from '../../src/gateway/native/replay-buffer.ts';

/** As many sessions as it takes to use up what there is for all, each saying as much as one may. */
function loud(budget: ReplayBudget): ReplayBuffer[] {
  const sessions = Math.ceil(bounds.mcpReplayTotalBytesMax / bounds.mcpReplayBytesMax);
  const data = 'x'.repeat(bounds.mcpReplayBytesMax / 64);
  return Array.from({ length: sessions }, () => {
    const buffer = new ReplayBuffer(budget);
    for (let seq = 1; seq <= 64; seq++) buffer.add(0, seq, data);
    return buffer;
  });
}

describe('what sessions keep of their streams', () => {
  it('is kept of one that says little, however much others say', () => {
    const budget = { chars: 0 };
    loud(budget);
    const buffer = new ReplayBuffer(budget);
    for (let seq = 1; seq <= 3; seq++) buffer.add(0, seq, 'y'.repeat(1_000));
    expect(buffer.after(0, 0)?.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  it('is no more than there is for all', () => {
    const budget = { chars: 0 };
    const buffers = loud(budget);
    expect(budget.chars).toBeLessThanOrEqual(bounds.mcpReplayTotalBytesMax);
    expect(buffers.at(-1)?.after(0, 0)).toBeUndefined();
    for (const buffer of buffers) buffer.close();
    expect(budget.chars).toBe(0);
  });
});
