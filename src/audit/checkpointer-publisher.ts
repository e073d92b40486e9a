/**
 * From signed to published: a checkpoint is shown to outsiders when its witnesses have been asked, with the cosignatures
 * that there are. While a round is under way, what was published before is shown, so that nobody who demands
 * cosignatures sees a checkpoint that is merely on its way to them.
 */
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import type { CheckpointStore, StoredCheckpoint } from '../storage/checkpoints.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Anchors } from './anchors.ts';
import { within } from './checkpointer-deadline.ts';
import type { Round, Witnesses } from './witnesses.ts';

export interface PublisherOptions {
  readonly store: CheckpointStore;
  readonly witnesses: Witnesses | undefined;
  readonly anchors: Anchors | undefined;
  readonly telemetry: Telemetry;
  /** Told what the witnesses said; whether the checkpoint may be published after that. */
  readonly onRound: (round: Round) => Promise<boolean>;
}

export interface Publisher {
  readonly published: () => StoredCheckpoint | undefined;
  /** Publishes it, or a newer one that is offered meanwhile. */
  readonly offer: (checkpoint: StoredCheckpoint) => void;
  /** Resolves when nothing that was offered is still on its way. */
  readonly settled: () => Promise<void>;
  /** Lets the round under way end and anchors what was published, each no longer than `deadlineMs`. */
  readonly close: (deadlineMs: number) => Promise<void>;
}

export function createPublisher(options: PublisherOptions): Publisher {
  const { store, witnesses, anchors, telemetry } = options;
  let published: StoredCheckpoint | undefined;
  let offered: StoredCheckpoint | undefined;
  let running: Promise<void> | undefined;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  function offer(checkpoint: StoredCheckpoint): void {
    if (published !== undefined && checkpoint.size <= published.size) return;
    begin(checkpoint);
  }

  function begin(checkpoint: StoredCheckpoint): void {
    if (witnesses === undefined) {
      publish(checkpoint, 'none');
      return;
    }
    if (isClosed || checkpoint.size < (offered?.size ?? 0)) return;
    offered = checkpoint;
    running ??= rounds(witnesses);
  }

  async function rounds(asked: Witnesses): Promise<void> {
    for (let next = take(); next !== undefined; next = take()) await round(asked, next);
    // In the same turn as the last look, so that no offer falls in between.
    running = undefined;
  }

  function take(): StoredCheckpoint | undefined {
    const taken = offered;
    offered = undefined;
    return taken;
  }

  async function round(asked: Witnesses, checkpoint: StoredCheckpoint): Promise<void> {
    clearTimeout(retry);
    const cosigned = await ask(asked, checkpoint);
    if (cosigned === undefined) return;
    const isReached = asked.isCosigned(cosigned.note);
    publish(cosigned, isReached ? 'reached' : 'missed');
    // A quiet log signs nothing new, and its last checkpoint deserves its witnesses too.
    if (!isReached && !isClosed) retry = setTimeout(() => begin(cosigned), bounds.witnessRetryMs).unref();
  }

  async function ask(asked: Witnesses, checkpoint: StoredCheckpoint): Promise<StoredCheckpoint | undefined> {
    try {
      const round = await asked.cosign(checkpoint);
      if (!(await options.onRound(round))) return undefined;
      if (round.checkpoint.note !== checkpoint.note) await store.replaceNote(round.checkpoint);
      return round.checkpoint;
    } catch (error) {
      telemetry.log.warn(`the witnesses could not be asked: ${describeError(error)}`);
      return checkpoint;
    }
  }

  function publish(checkpoint: StoredCheckpoint, quorum: 'none' | 'reached' | 'missed'): void {
    if (published !== undefined && checkpoint.size < published.size) return;
    published = checkpoint;
    telemetry.checkpointPublished({ size: checkpoint.size, quorum });
    anchors?.offer(checkpoint.note);
  }

  async function close(deadlineMs: number): Promise<void> {
    isClosed = true;
    clearTimeout(retry);
    await within(deadlineMs, running ?? Promise.resolve());
    witnesses?.close();
    await anchors?.close(deadlineMs);
  }

  return { published: () => published, offer, settled: async () => running, close };
}
