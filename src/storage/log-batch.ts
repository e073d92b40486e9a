/** A batch that has its place in the log: its rows, the head that follows it, and what commits with it. */
import { type CommittedEvent, committedEvent, type PreparedEvent, sealEvent } from '../core/audit-event.ts';
import { leafHash } from '../core/merkle.ts';
import { type FullTile, type TreeEdge, tileWidth } from '../core/tree-edge.ts';
import { nextTick, uuidv7 } from '../core/uuidv7.ts';
import { companionStatements } from './companions.ts';
import { copyField } from './copy-query.ts';
import type { Head, Place } from './log-head.ts';
import { projectedKey } from './projected-key.ts';
import { addToRollups } from './rollups.ts';
import { tailChannel } from './tail-channel.ts';
import { insertTiles } from './tiles.ts';

export interface Batch {
  readonly rows: Buffer;
  readonly committed: CommittedEvent[];
  /** The head when it is written. */
  readonly end: Place;
  readonly tiles: readonly FullTile[];
  /** SQL for what commits with the records: their companions and what they add to the statistics. */
  readonly alongside: string;
}

/** Whether `added` records more than `size` complete a tile, for which the tree's edge must be known. */
export function completesTile(size: number, added: number): boolean {
  return Math.floor((size + added) / tileWidth) > Math.floor(size / tileWidth);
}

/** Gives each event its place: sequence, id and time, canonical bytes, leaf. */
export function seal(
  writerId: string,
  head: Head,
  edge: TreeEdge | undefined,
  events: readonly PreparedEvent[],
): Batch {
  const { tree } = head;
  const committed: CommittedEvent[] = [];
  const tiles: FullTile[] = [];
  let { tick } = head;
  let rows = '';
  for (const event of events) {
    tick = nextTick(tick, head.nowMs);
    const eventId = uuidv7(tick);
    const canon = sealEvent(event, eventId, tick.ms);
    const leaf = leafHash(canon);
    const seq = head.nextSeq + committed.length;
    tree.append(leaf);
    if (edge !== undefined) tiles.push(...edge.append(leaf));
    rows += copyRow(seq, eventId, tick.ms, event, leaf, canon);
    committed.push(committedEvent(seq, eventId, canon));
  }
  return {
    rows: Buffer.from(rows, 'utf8'),
    committed,
    end: { nextSeq: head.nextSeq + committed.length, tick, tree },
    tiles,
    alongside: companionStatements(writerId, events, committed) + addToRollups(events, committed),
  };
}

const columns =
  'seq, event_id, ts, outcome, surface_id, team_id, agent_id, session_id, correlation_id, event_type, server_id, tool, is_intent, leaf_hash, canon, details';

function copyRow(seq: number, eventId: string, ms: number, event: PreparedEvent, leaf: Buffer, canon: string): string {
  const { keys } = event;
  return (
    `${seq}\t${eventId}\t${new Date(ms).toISOString()}\t${keys.outcome}\t${keyField(keys.surfaceId)}` +
    `\t${keyField(keys.teamId)}\t${keyField(keys.agentId)}\t${keyField(keys.sessionId)}` +
    `\t${keyField(keys.correlationId)}\t${keyField(keys.eventType)}\t${keyField(keys.serverId)}\t${keyField(keys.tool)}\t${!event.isCounted}` +
    `\t\\\\x${leaf.toString('hex')}\t${copyField(canon)}\t${copyField(event.details)}\n`
  );
}

function keyField(key: string | null): string {
  return copyField(key === null ? null : projectedKey(key));
}

/**
 * What commits a sealed batch, for `copyQuery` with its rows. `before` are statements that the batch depends on; each statement
 * ends with a semicolon.
 */
export function commitStatements(batchId: string, batch: Batch, before = ''): string {
  const { nextSeq, tick, tree } = batch.end;
  const size = batch.committed.length;
  const edge = `\\x${tree.serialize().toString('hex')} \\x${tree.root().toString('hex')}`;
  // The head moves when the rows are in: a trigger takes it from here and checks that they lead to it.
  return `SET LOCAL talos.head = '${nextSeq} ${tick.ms} ${tick.counter} ${edge}';
    ${before}
    COPY audit_event (${columns}) FROM STDIN;
    EXECUTE note_batch ('${batchId}', ${nextSeq - size}, ${size});
    ${insertTiles(batch.tiles)}
    ${batch.alongside}
    ${size === 0 ? '' : `NOTIFY ${tailChannel};`}
    COMMIT`;
}
