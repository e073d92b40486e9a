import { describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { type ReplayBudget, ReplayBuffer } from '../../src/gateway/native/streams/replay-buffer.ts';

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

  it('loses log messages before all else, and tells of no gap for them', () => {
    const buffer = new ReplayBuffer({ chars: 0 });
    buffer.add(0, 1, 'an answer');
    for (let seq = 2; seq <= bounds.mcpReplayEventsMax + 50; seq++) buffer.add(0, seq, 'a log message', true);
    const kept = buffer.after(0, 0);
    expect(kept?.[0]?.data).toBe('an answer');
    expect(kept).toHaveLength(bounds.mcpReplayEventsMax);
    expect(kept?.at(-1)?.seq).toBe(bounds.mcpReplayEventsMax + 50);
  });

  it('tells of a gap when anything else is lost', () => {
    const buffer = new ReplayBuffer({ chars: 0 });
    for (let seq = 1; seq <= bounds.mcpReplayEventsMax + 1; seq++) buffer.add(0, seq, 'progress');
    expect(buffer.after(0, 0)).toBeUndefined();
    expect(buffer.after(0, 1)).toHaveLength(bounds.mcpReplayEventsMax);
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
