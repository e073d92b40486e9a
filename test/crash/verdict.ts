/** What "none lost" means, checked from the stored bytes against what the clients were told. */

import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonValue } from '../../src/core/json.ts';
import { type CheckedRecord, rootsAt } from '../support/log-checker.ts';
import type { Upstream } from '../support/upstream.ts';
import type { Ledger, SentGroup } from './load.ts';

/** Counts for the closing table, and every fault in words; a run without faults has none. */
export interface Verdict {
  readonly faults: readonly string[];
  readonly storedUnacknowledged: number;
  readonly intents: number;
  readonly unknownOutcomes: number;
  /** What a gateway knew of a call after another one had closed its intent. */
  readonly lateWords: number;
  readonly upstreamWrites: number;
}

export function judge(records: readonly CheckedRecord[], ledger: Ledger, upstream: Upstream): Verdict {
  const faults = [...ledger.faults];
  const seqs = seqsByNumber(records, faults);
  const stored = ledger.groups.map((group) => judgeGroup(group, records, seqs, faults));
  judgeCheckpoints(records, ledger, faults);
  const intents = judgeIntents(records, faults);
  const upstreamWrites = judgeUpstream(records, ledger, upstream, faults);
  return {
    faults,
    storedUnacknowledged: stored.reduce((sum, count) => sum + count, 0),
    ...intents,
    upstreamWrites,
  };
}

function metaOf({ record }: CheckedRecord): Readonly<Record<string, JsonValue | undefined>> {
  return record['meta'] ?? {};
}

/** No event is there twice, whether it was acknowledged or not. */
function seqsByNumber(records: readonly CheckedRecord[], faults: string[]): Map<number, number> {
  const seqs = new Map<number, number>();
  for (const record of records) {
    const n = metaOf(record)['n'];
    if (typeof n !== 'number') continue;
    if (seqs.has(n)) faults.push(`event ${n} is there twice`);
    seqs.set(n, record.seq);
  }
  return seqs;
}

/** Acknowledged: at its places with its bytes. Else: wholly or not at all. Returns how many were not acknowledged. */
function judgeGroup(
  { key, first, count, told }: SentGroup,
  records: readonly CheckedRecord[],
  seqs: ReadonlyMap<number, number>,
  faults: string[],
): number {
  const places = Array.from({ length: count }, (_, index) => seqs.get(first + index));
  const start = places[0];
  const isWhole = places.every((seq, index) => seq === (start === undefined ? undefined : start + index));
  if (!isWhole) faults.push(`${key} is there in part, or torn apart: ${places}`);
  for (const [index, { seq, event_id: eventId, integrity_hash: hash }] of (told ?? []).entries()) {
    const record = records[seq];
    const isThere = record?.eventId === eventId && places[index] === seq && sha256Hex(record.canon) === hash;
    if (!isThere) faults.push(`${key}: event ${first + index} is not what its client was told`);
  }
  return told === undefined && start !== undefined ? count : 0;
}

/** Every checkpoint that anybody was given is one of this log's history. */
function judgeCheckpoints(records: readonly CheckedRecord[], { checkpoints }: Ledger, faults: string[]): void {
  const served = [...checkpoints].map((note) => parseCheckpoint(note.slice(0, note.indexOf('\n\n') + 1)));
  const roots = rootsAt(records, new Set(served.map(({ size }) => size)));
  for (const { size, root } of served) {
    if (roots.get(size)?.equals(root) !== true)
      faults.push(`a checkpoint of size ${size} was served with another root`);
  }
}

/** Every intent has exactly one outcome, and what came late stands behind it. */
function judgeIntents(
  records: readonly CheckedRecord[],
  faults: string[],
): Pick<Verdict, 'intents' | 'unknownOutcomes' | 'lateWords'> {
  const outcomes = new Map<string, number>();
  let unknownOutcomes = 0;
  let lateWords = 0;
  for (const record of records) {
    const { intent_id: intentId, phase, reason } = metaOf(record);
    if (typeof intentId !== 'string') continue;
    if (phase === 'late') {
      lateWords++;
      if (!outcomes.has(intentId)) faults.push(`record ${record.seq} is late, and nothing was before it`);
      continue;
    }
    outcomes.set(intentId, (outcomes.get(intentId) ?? 0) + 1);
    if (reason === 'gateway_restart') unknownOutcomes++;
  }
  const intents = records.filter((record) => metaOf(record)['phase'] === 'intent');
  for (const { eventId } of intents) {
    const count = outcomes.get(eventId) ?? 0;
    if (count !== 1) faults.push(`intent ${eventId} has ${count} outcomes`);
  }
  return { intents: intents.length, unknownOutcomes, lateWords };
}

/** No write reached the tool server without an intent on record, and every answer names a record. */
function judgeUpstream(
  records: readonly CheckedRecord[],
  ledger: Ledger,
  upstream: Upstream,
  faults: string[],
): number {
  const intended = new Set<string>();
  for (const record of records) {
    if (metaOf(record)['phase'] === 'intent') intended.add(String(record.record['request_id']));
  }
  const writes = upstream.calls.filter(({ name }) => name === 'write');
  for (const { requestId } of writes) {
    if (requestId === undefined || !intended.has(requestId)) faults.push(`${requestId} was called without an intent`);
  }
  if (new Set(writes.map(({ requestId }) => requestId)).size !== writes.length) faults.push('a write was called twice');
  const byId = new Map(records.map((record) => [record.eventId, record]));
  for (const { requestId, auditRef } of ledger.calls) {
    if (auditRef === undefined) continue;
    const record = byId.get(auditRef)?.record;
    if (String(record?.['request_id']) !== requestId || String(record?.['outcome']) !== 'success') {
      faults.push(`${requestId} was answered, and its record is not there`);
    }
  }
  return writes.length;
}
