/** One stored record against its own bytes: its leaf, its form, its id and time, the columns and details beside it. */
import { isCountedPhase } from '../../core/audit-event.ts';
import { canonicalize } from '../../core/canonical-json.ts';
import { sha256Hex } from '../../core/hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { leafHash } from '../../core/merkle.ts';
import { isUuidv7, uuidv7Ms } from '../../core/uuidv7.ts';
import type { SnapshotRecord } from '../../storage/log-snapshot.ts';
import { projectedKey } from '../../storage/projected-key.ts';
import type { Findings } from './findings.ts';

const recordBytesMax = 65_535;

/** The record as it was parsed, or undefined when its bytes are no record. */
export function checkRecord(row: SnapshotRecord, findings: Findings): JsonObject | undefined {
  const { seq, canon } = row;
  findings.expect(
    leafHash(canon).equals(row.leafHash),
    'records',
    () => `The leaf of record ${seq} is not the hash of its bytes.`,
  );
  const record = parsed(canon);
  if (record === undefined) {
    findings.fault('records', `Record ${seq} is not canonical JSON.`);
    return undefined;
  }
  checkForm(row, record, findings);
  checkDetails(row, record, findings);
  return record;
}

/** The object that `canon` is the one canonical form of. */
function parsed(canon: string): JsonObject | undefined {
  try {
    const value = JSON.parse(canon) as JsonValue;
    return isJsonObject(value) && isCanonical(canon, value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What JSON.stringify gives back is canonical when every object lists its keys in order; that is the quick way. */
function isCanonical(canon: string, value: JsonObject): boolean {
  if (isSorted(value) && JSON.stringify(value) === canon && canon.isWellFormed()) return true;
  // Engines list integer-like keys first, so such a record is not in order and yet may be canonical.
  return canonicalize(value) === canon;
}

function isSorted(value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isSorted);
  let last: string | undefined;
  for (const key in value) {
    if (last !== undefined && key <= last) return false;
    last = key;
    const member = (value as JsonObject)[key] as JsonValue;
    if (typeof member === 'object' && !isSorted(member)) return false;
  }
  return true;
}

function checkForm(row: SnapshotRecord, record: JsonObject, findings: Findings): void {
  const { seq, eventId, canon } = row;
  // UTF-8 takes at most three bytes for a UTF-16 unit.
  const isShort = canon.length * 3 <= recordBytesMax || Buffer.byteLength(canon) <= recordBytesMax;
  findings.expect(isShort, 'records', () => `Record ${seq} is longer than a record may be.`);
  if (!findings.expect(isUuidv7(eventId), 'records', () => `The id of record ${seq} is not a UUIDv7.`)) return;
  findings.expect(record['event_id'] === eventId, 'records', () => `Record ${seq} names another id than its row.`);
  const time = isoTime(uuidv7Ms(eventId));
  findings.expect(record['ts'] === time, 'records', () => `The time of record ${seq} is not that of its id.`);
  findings.expect(
    row.keys === expectedKeys(eventId, time, record),
    'keys',
    () => `The columns of record ${seq} are not what the record says, so filters do not find it as they should.`,
  );
}

let lastTime = { ms: Number.NaN, iso: '' };

// Records of one batch share their time.
function isoTime(ms: number): string {
  if (lastTime.ms !== ms) lastTime = { ms, iso: new Date(ms).toISOString() };
  return lastTime.iso;
}

/** The columns that the record is found by, as PostgreSQL writes a row value of them. */
function expectedKeys(eventId: string, time: string, record: JsonObject): string {
  const meta = objectAt(record, 'meta');
  const principal = objectAt(record, 'principal');
  const isKnown = principal['auth_mode'] !== 'anonymous';
  return rowText([
    eventId,
    timestampText(time),
    record['outcome'],
    key(record['surface_id']),
    isKnown ? key(principal['team_id']) : null,
    isKnown ? key(principal['principal_id']) : null,
    key(meta['session_id']),
    key(typeof meta['correlation_id'] === 'string' ? meta['correlation_id'] : record['request_id']),
    key(meta['event_type']),
    key(meta['server_id']),
    key(meta['tool_name']),
    isCountedPhase(meta['phase']) ? 'f' : 't',
  ]);
}

// Half of a pair that a cut went through is stored as U+FFFD.
function key(value: JsonValue | undefined): string | null {
  return typeof value === 'string' ? projectedKey(value).toWellFormed() : null;
}

/** `2026-01-02 03:04:05.6+00`: the zeroes at the end of the fraction are left out, and a fraction of nothing else. */
function timestampText(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 23).replace(/\.?0+$/, '')}+00`;
}

function rowText(fields: readonly (JsonValue | undefined)[]): string {
  return `(${fields.map(fieldText).join(',')})`;
}

const quoted = /[(),"\\\s]/;

// A row value quotes what is empty or holds what it is made of; `\s` is a little more than PostgreSQL's white space.
function fieldText(value: JsonValue | undefined): string {
  if (typeof value !== 'string') return '';
  if (value !== '' && !quoted.test(value)) return value;
  return value === '' || /[(),"\\ \t\n\r\v\f]/.test(value) ? `"${value.replace(/["\\]/g, '$&$&')}"` : value;
}

function checkDetails(row: SnapshotRecord, record: JsonObject, findings: Findings): void {
  const bound = objectAt(record, 'meta')['details_hash'];
  if (row.details === null && bound === undefined) return;
  const hash = row.details === null ? undefined : sha256Hex(row.details);
  findings.expect(
    bound === hash,
    'details',
    () => `The details of record ${row.seq} are not those that it is bound to.`,
  );
}

export function objectAt(object: JsonObject, name: string): JsonObject {
  const value = object[name];
  return isJsonObject(value) ? value : {};
}
