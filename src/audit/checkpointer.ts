/**
 * Signs what the log has committed. A checkpoint is signed only after the commit, and only when the tree it speaks of
 * continues the last one that was signed: there is never a second history under this key. A database that no longer
 * continues it ends the signing for good, and with it every promise that rests on the log.
 *
 * Several gateways may sign one log: each takes over what the others have signed before it signs more.
 */
import { bounds } from '../config/bounds.ts';
import { formatCheckpoint, parseCheckpoint } from '../core/checkpoint.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { openNote, signNote } from '../core/note.ts';
import { SingleFlight } from '../core/single-flight.ts';
import type { CheckpointStore, StoredCheckpoint, TreeHead } from '../storage/checkpoints.ts';
import type { TileReader } from '../storage/tiles.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Anchors } from './anchors.ts';
import { within } from './checkpointer-deadline.ts';
import { keepCheckpoint, readKept } from './checkpointer-file.ts';
import { assertContinues, assertContinuesFound, assertHeadIsSound, LogForked } from './checkpointer-guard.ts';
import { createPublisher } from './checkpointer-publisher.ts';
import type { LogKey } from './log-key.ts';
import type { Round, Witnesses } from './witnesses.ts';

export interface CheckpointerOptions {
  readonly key: LogKey;
  readonly store: CheckpointStore;
  readonly tiles: TileReader;
  /** Where the last signed checkpoint is kept outside the database. */
  readonly file: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly witnesses?: Witnesses | undefined;
  readonly anchors?: Anchors | undefined;
  /** Whether a log without any copy outside is worth a loud word. */
  readonly production: boolean;
}

export interface Checkpointer {
  /** The newest published checkpoint; at the first call of an empty log, one of size 0. */
  readonly latest: () => Promise<StoredCheckpoint>;
  /** A checkpoint of at least `size` leaves, signed now if need be. It may be too fresh to be cosigned. */
  readonly covering: (size: number) => Promise<StoredCheckpoint>;
  /** The same once its witnesses have been asked; after `cosignedWaitMs` as it is. */
  readonly cosigned: (size: number) => Promise<StoredCheckpoint>;
  /** Tells that something was committed: a checkpoint follows within the interval. */
  readonly committed: () => void;
  /** Throws `AUDIT_UNAVAILABLE` once the database was found not to continue what was signed. */
  readonly assertSound: () => void;
  /** Signs what is left, but waits for nobody longer than `checkpointCloseMs`. */
  readonly close: () => Promise<void>;
}

/** Throws an `Error` with one sentence when the database does not continue what was signed before. */
export async function createCheckpointer(options: CheckpointerOptions): Promise<Checkpointer> {
  const { store, tiles, key, file, clock, telemetry, witnesses } = options;
  await guardStart(options);
  const publisher = createPublisher({ ...options, witnesses, anchors: options.anchors, onRound: heedWitnesses });
  // Everything that was signed and is known here; what is to be signed continues it.
  let newest: StoredCheckpoint | undefined;
  const signing = new SingleFlight<StoredCheckpoint>();
  let checkedAtMs = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let forked: LogForked | undefined;
  let isClosed = false;
  await adopt(await store.latest());

  function assertSound(): void {
    if (forked !== undefined) throw new TalosError('AUDIT_UNAVAILABLE', { inside: forked.message });
  }

  /** From here on nothing is signed: whoever can change the database may change it back, and only that is a cure. */
  function stopFor(fork: LogForked): void {
    if (forked !== undefined) return;
    forked = fork;
    telemetry.logForked(fork.message);
  }

  /** Takes over what another gateway has signed, if one of our keys did. */
  async function adopt(stored: StoredCheckpoint | undefined): Promise<void> {
    if (stored === undefined || stored.size <= (newest?.size ?? -1) || !isOurs(key, stored)) return;
    await assertContinues(tiles.nodes, stored, (await store.head()).size);
    await keepCheckpoint(file, stored);
    newest = stored;
    publisher.offer(stored);
  }

  async function sign(): Promise<StoredCheckpoint> {
    assertSound();
    checkedAtMs = clock.monotonic();
    await adopt(await store.latest());
    const head = await store.head();
    if (newest !== undefined) await assertContinues(tiles.nodes, newest, head.size);
    if (newest === undefined || head.size > newest.size) newest = await signHead(options, head);
    publisher.offer(newest);
    return newest;
  }

  function signOnce(): Promise<StoredCheckpoint> {
    return signing.run(() =>
      sign().catch((error: unknown) => {
        if (error instanceof LogForked) stopFor(error);
        assertSound();
        throw error instanceof TalosError ? error : notSigned(error);
      }),
    );
  }

  async function latest(): Promise<StoredCheckpoint> {
    const isFresh = clock.monotonic() - checkedAtMs < options.intervalMs;
    const known = publisher.published() ?? newest;
    if (known !== undefined && isFresh) return known;
    try {
      const signed = await signOnce();
      return publisher.published() ?? signed;
    } catch (error) {
      // What was signed stays true, whatever became of the store.
      if (known !== undefined) return known;
      throw error;
    }
  }

  async function covering(size: number): Promise<StoredCheckpoint> {
    assertSound();
    const published = publisher.published();
    if (published !== undefined && published.size >= size) return published;
    if (newest !== undefined && newest.size >= size) return newest;
    // One that is being signed may have read the head before `size` was committed.
    const first = await signOnce();
    return first.size >= size ? first : await signOnce();
  }

  async function cosigned(size: number): Promise<StoredCheckpoint> {
    const signed = await covering(size);
    await within(bounds.cosignedWaitMs, publisher.settled());
    const published = publisher.published();
    return published !== undefined && published.size >= size ? published : signed;
  }

  function committed(): void {
    if (isClosed || forked !== undefined) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      signOnce().catch((error) => telemetry.log.error(`no checkpoint could be signed: ${describeError(error)}`));
    }, options.intervalMs);
  }

  /** Their word alone does not stop us, unless as many say it as the operator believes. */
  async function heedWitnesses({ ahead, disputes }: Round): Promise<boolean> {
    if (witnesses === undefined || ahead.length + disputes === 0) return true;
    const { size } = await store.head();
    const contradictions = disputes + ahead.filter((seen) => seen > size).length;
    if (contradictions === 0) return true;
    const sentence = `${contradictions} of the witnesses have cosigned another history of this log.`;
    telemetry.log.error(sentence);
    if (contradictions >= witnesses.quorum) stopFor(new LogForked(sentence));
    return forked === undefined;
  }

  async function close(): Promise<void> {
    isClosed = true;
    clearTimeout(timer);
    const startedAtMs = clock.monotonic();
    await within(
      bounds.checkpointCloseMs,
      signOnce().catch(() => undefined),
    );
    await publisher.close(Math.max(0, bounds.checkpointCloseMs - (clock.monotonic() - startedAtMs)));
  }

  return { latest, covering, cosigned, committed, assertSound, close };
}

async function signHead({ key, file, store, tiles }: CheckpointerOptions, head: TreeHead): Promise<StoredCheckpoint> {
  await assertHeadIsSound(tiles.nodes, head);
  const { size, root } = head;
  const text = formatCheckpoint({ origin: key.origin, size, root });
  const checkpoint = { size, root, note: await signNote({ text, signatures: [] }, key.signers) };
  // Outside first: a checkpoint that anybody has seen is also known there.
  await keepCheckpoint(file, checkpoint);
  // A crash here leaves a checkpoint that only the file knows, and that the database continues.
  await store.add(checkpoint);
  return checkpoint;
}

/** What could not be signed or kept now, such as for want of room on a disk, may be a moment later. */
function notSigned(cause: unknown): TalosError {
  return new TalosError('AUDIT_UNAVAILABLE', { message: 'The log cannot be signed now. Try again.', cause });
}

/** Whether the first of our keys signed it, and it says what its row says: the database is not believed. */
function isOurs({ origin, verifiers }: LogKey, { size, root, note }: StoredCheckpoint): boolean {
  try {
    const { text } = openNote(note, verifiers.slice(0, 1));
    const checkpoint = parseCheckpoint(text);
    return checkpoint.origin === origin && checkpoint.size === size && checkpoint.root.equals(root);
  } catch {
    return false;
  }
}

/** The database must continue everything that is known to have been signed. */
async function guardStart(options: CheckpointerOptions): Promise<void> {
  const { store, tiles, key, file, witnesses, anchors } = options;
  const { size } = await store.head();
  const stored = await store.latest();
  if (stored !== undefined) await assertContinues(tiles.nodes, stored, size);
  const kept = await readKept(file);
  const found = [...(kept === undefined ? [] : [kept]), ...((await anchors?.newest()) ?? [])];
  for (const checkpoint of found) await assertContinuesFound(tiles.nodes, checkpoint, key.origin, size);
  if (witnesses !== undefined) await guardAgainstWitnesses(options, witnesses, size);
  if (options.production && size > 0 && found.length === 0 && witnesses === undefined) warnOfNoCopy(options);
}

async function guardAgainstWitnesses(
  { key, telemetry }: CheckpointerOptions,
  witnesses: Witnesses,
  size: number,
): Promise<void> {
  const more = (await witnesses.sizes(key)).filter((seen) => seen > size);
  const sentence = `${more.length} of the witnesses have cosigned more than the ${size} records that the database holds: it is an old copy.`;
  if (more.length >= witnesses.quorum) throw new LogForked(`${sentence} Restore the newest one.`);
  if (more.length > 0) telemetry.log.error(sentence);
}

function warnOfNoCopy({ file, telemetry }: CheckpointerOptions): void {
  telemetry.log.warn(
    `NOTHING OUTSIDE THE DATABASE tells what was signed of this log: ${file} is not there, and there is no witness and no anchor. A database that was rolled back or changed before this start would not be noticed.`,
  );
}
