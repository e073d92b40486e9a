/**
 * Callers that wait for a human to decide. One query at a time asks for all of them together, however many wait, and none
 * holds a connection meanwhile.
 */
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import type { ApprovalStore } from '../storage/tool-approvals.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface ApprovalWaiters {
  /** Resolves when the approval was decided or has expired, after `waitMs`, or when `signal` is aborted. Never rejects. */
  readonly wait: (approvalId: string, waitMs: number, signal: AbortSignal) => Promise<void>;
  /** It was decided here. */
  readonly wake: (approvalId: string) => void;
  /** Nobody waits any longer, now or later. */
  readonly release: () => void;
}

export function createApprovalWaiters(store: Pick<ApprovalStore, 'settled'>, log: Log): ApprovalWaiters {
  const waiting = new Map<string, Set<() => void>>();
  let isReleased = false;
  let isPolling = false;

  function wake(approvalId: string): void {
    const resolves = waiting.get(approvalId);
    waiting.delete(approvalId);
    for (const resolve of resolves ?? []) resolve();
  }

  async function ask(): Promise<void> {
    try {
      for (const id of await store.settled([...waiting.keys()])) wake(id);
    } catch (error) {
      log.debug({ reason: describeError(error) }, 'the approvals that are waited for cannot be read');
    }
  }

  function poll(): void {
    if (isPolling || waiting.size === 0) return;
    isPolling = true;
    setTimeout(() => {
      void ask().then(() => {
        isPolling = false;
        poll();
      });
    }, bounds.approvalPollMs).unref();
  }

  return {
    async wait(approvalId, waitMs, signal) {
      if (isReleased || signal.aborted || waitMs <= 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const resolves = waiting.get(approvalId) ?? new Set();
      waiting.set(approvalId, resolves.add(resolve));
      const timer = setTimeout(resolve, waitMs);
      signal.addEventListener('abort', () => resolve(), { once: true });
      poll();
      await promise;
      clearTimeout(timer);
      resolves.delete(resolve);
      if (resolves.size === 0 && waiting.get(approvalId) === resolves) waiting.delete(approvalId);
    },
    wake,
    release() {
      isReleased = true;
      for (const id of [...waiting.keys()]) wake(id);
    },
  };
}
