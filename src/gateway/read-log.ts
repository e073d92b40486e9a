/**
 * The log as outsiders check it: checkpoints, tiles, proofs, receipts. Hashes are open to everybody; records are for
 * those who may read events, and whole entry bundles for those who may read everybody's.
 */
import type { Checkpointer } from '../audit/checkpointer.ts';
import { within } from '../audit/checkpointer-deadline.ts';
import { retiredKeys } from '../audit/retired-keys.ts';
import { bounds } from '../config/bounds.ts';
import { deny } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import { consistencyProof, inclusionProof, type NodeReader } from '../core/merkle-proof.ts';
import type { Receipt } from '../core/receipt.ts';
import { rememberNodes } from '../core/remembered-nodes.ts';
import { encodeEntryBundle, isTileOf, type TileName } from '../core/tile.ts';
import { type PolicyMode, visibleTeams } from '../policy/decide.ts';
import type { StoredCheckpoint } from '../storage/checkpoints.ts';
import type { EventReader, StoredEvent } from '../storage/events.ts';
import type { TileReader } from '../storage/tiles.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { ReadEvents, ReadRequest } from './read-events.ts';
import type { Refuse } from './refusal.ts';

export interface ReadLog {
  /** What verifiers are given: the keys that have signed this log, oldest first, and which of them sign no more. */
  readonly verifierKeys: () => Promise<{ readonly keys: string[]; readonly retired: string[] }>;
  readonly checkpoint: () => Promise<StoredCheckpoint>;
  /** A tile of hashes. Throws `NOT_FOUND` for one that the signed tree does not have. */
  readonly tile: (name: TileName & { readonly level: number }) => Promise<Buffer>;
  /** The records of a tile's leaves, as an entry bundle. */
  readonly entries: (request: ReadRequest & { readonly index: number; readonly width: number }) => Promise<Buffer>;
  /** Throws `INVALID_REQUEST` unless 1 ≤ from ≤ to ≤ the signed size. */
  readonly consistency: (from: number, to: number) => Promise<Buffer[]>;
  /**
   * The proof that a record is in the log. The record is the caller's to see, or `NOT_FOUND`. With `cosigned` it waits
   * until the witnesses have been asked for the checkpoint.
   */
  readonly receipt: (
    request: ReadRequest & { readonly eventId: string; readonly cosigned?: boolean },
  ) => Promise<Receipt>;
  /**
   * The receipt of the record that was made of a caller's own request, which they need no leave to read. Undefined when
   * there is none within `receiptWaitMs`: what was asked for is done, and its answer must not wait for a checkpoint.
   */
  readonly ownReceipt: (eventId: string) => Promise<Receipt | undefined>;
}

export interface ReadLogOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly refuse: Refuse;
  readonly policyMode: PolicyMode;
  readonly readEvents: Pick<ReadEvents, 'get'>;
  readonly events: EventReader;
  readonly tiles: TileReader;
  readonly checkpointer: Checkpointer;
  readonly verifierKeys: () => Promise<string[]>;
}

export function createReadLog(options: ReadLogOptions): ReadLog {
  const { checkpointer, tiles, readEvents } = options;
  const nodes = rememberNodes(tiles.nodes, bounds.rememberedNodesMax);

  async function assertSigned(name: TileName): Promise<void> {
    checkpointer.assertSound();
    // What is not signed yet may still be asked for a moment too early; then it is signed now.
    const first = await checkpointer.latest();
    const signed = isTileOf(name, first.size) ? first : await checkpointer.covering(first.size + 1);
    if (!isTileOf(name, signed.size)) throw new TalosError('NOT_FOUND', { message: 'The log has no such tile yet.' });
  }

  return {
    async verifierKeys() {
      const { note } = await checkpointer.latest();
      const keys = await options.verifierKeys();
      return { keys, retired: retiredKeys(keys, note) };
    },
    checkpoint: () => checkpointer.latest(),
    async tile(name) {
      await assertSigned(name);
      const tile = await tiles.tile(name.level, name.index, name.width);
      if (tile === undefined) throw new TalosError('NOT_FOUND', { message: 'The log has no such tile yet.' });
      return tile;
    },
    async entries(request) {
      await assertMayReadAll(options, request);
      const name = { level: 'entries', index: request.index, width: request.width } as const;
      await assertSigned(name);
      const canons = await options.events.canons(name.index * 256, name.width);
      // What is signed has been there.
      if (canons.length < name.width) throw new TalosError('RECORD_PRUNED');
      return encodeEntryBundle(canons.map((canon) => Buffer.from(canon, 'utf8')));
    },
    async consistency(from, to) {
      checkpointer.assertSound();
      const { size } = await checkpointer.covering(to).catch(() => checkpointer.latest());
      if (from < 1 || from > to || to > size) {
        throw new TalosError('INVALID_REQUEST', { message: `from and to must satisfy 1 <= from <= to <= ${size}.` });
      }
      return await consistencyProof(from, to, nodes);
    },
    async receipt(request) {
      return await receiptOf(checkpointer, nodes, await readEvents.get(request), request.cosigned === true);
    },
    async ownReceipt(eventId) {
      const made = options.events
        .get(eventId, {})
        .then((event) => event && receiptOf(checkpointer, nodes, event, false));
      return await ifInTime(made);
    },
  };
}

async function ifInTime<T>(work: Promise<T>): Promise<T | undefined> {
  let result: T | undefined;
  const done = work.then(
    (value) => {
      result = value;
    },
    () => undefined,
  );
  await within(bounds.receiptWaitMs, done);
  return result;
}

/** The receipt of a record that was read: the proof against a checkpoint that covers it. */
async function receiptOf(
  checkpointer: Checkpointer,
  nodes: NodeReader,
  event: StoredEvent,
  cosigned: boolean,
): Promise<Receipt> {
  const { size, note } = await (cosigned ? checkpointer.cosigned : checkpointer.covering)(event.seq + 1);
  return {
    record: event.canon,
    eventHash: sha256Hex(event.canon),
    ...(event.details === null ? {} : { details: event.details }),
    leafIndex: event.seq,
    treeSize: size,
    proof: await inclusionProof(event.seq, size, nodes),
    checkpoint: note,
  };
}

async function assertMayReadAll(options: ReadLogOptions, { caller, facts }: ReadRequest): Promise<void> {
  await options.authorizeAction('log.entries', caller, facts);
  if (visibleTeams('events.read', caller, options.policyMode) === 'all') return;
  await options.refuse('log.entries', deny('SCOPE_MISMATCH', 'other_teams'), caller, facts);
}
