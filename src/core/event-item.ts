/**
 * What clients see of a record: the superset item that dashboards, terminals and SDKs of every generation can read. The
 * strict record stays the truth; this is a view of it.
 */
import type { Outcome } from './audit-event.ts';
import { cursorOf } from './cursor.ts';
import { sha256Hex } from './hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import { leafHash } from './merkle.ts';
import { uuidv7Ms } from './uuidv7.ts';

/** A record as the log holds it. */
export interface LoggedEvent {
  readonly eventId: string;
  readonly canon: string;
  /** The leaf that entered the tree. */
  readonly leafHash: Buffer;
  readonly details: string | null;
  /** Canonical JSON by key of values that the record only commits to. */
  readonly erasable?: Readonly<Record<string, string>>;
}

/** The outcome in the words of clients. */
export const clientOutcomes = { success: 'OK', failure: 'ERROR', denied: 'DENY' } as const satisfies Record<
  Outcome,
  string
>;

const verifierVersion = '3.2';

/** The strict v1 record with its hash: what an outsider recomputes. */
export function toRecord(event: LoggedEvent): JsonObject {
  return { ...(JSON.parse(event.canon) as JsonObject), event_hash: sha256Hex(event.canon) };
}

export function toItem(event: LoggedEvent): JsonObject {
  return itemOf(event, toRecord(event));
}

/** The same for those who have the event's record already. */
export function itemOf(event: LoggedEvent, record: JsonObject): JsonObject {
  const meta = objectAt(record, 'meta');
  const resource = objectAt(record, 'resource');
  const details = event.details === null ? {} : (JSON.parse(event.details) as JsonObject);
  const metadata = { ...details, ...meta, ...revealed(event.erasable) };
  const reason = meta['denial_reason'];
  return {
    schema_version: '1',
    event_id: event.eventId,
    id: event.eventId,
    timestamp: Math.floor(uuidv7Ms(event.eventId) / 1000),
    ts: textAt(record, 'ts'),
    cursor: cursorOf(event.eventId),
    event_type: textAt(meta, 'event_type'),
    outcome: clientOutcomes[record['outcome'] as Outcome],
    ...(record['outcome'] === 'denied' && typeof reason === 'string' ? { denial_reason: reason } : {}),
    session_id: textAt(meta, 'session_id'),
    correlation_id: textAt(meta, 'correlation_id') || textAt(record, 'request_id'),
    agent_id: textAt(objectAt(record, 'principal'), 'principal_id'),
    peer_id: '',
    tool: textAt(meta, 'tool_name'),
    method: textAt(record, 'surface_id'),
    resource: textAt(resource, 'resource_id'),
    metadata,
    meta: metadata,
    payload: metadata,
    metrics: numberMember('latency_ms', meta['latency_ms']),
    hashes: hashesOf(record, meta),
    integrity: integrityOf(event),
    integrity_hash: textAt(record, 'event_hash'),
    event_hash: textAt(record, 'event_hash'),
    principal: principalOf(objectAt(record, 'principal')),
    request_id: textAt(record, 'request_id'),
    surface_id: textAt(record, 'surface_id'),
    http: objectAt(record, 'http'),
    schema_id: textAt(record, 'schema_id'),
  };
}

/** The values in place of the commitments that the record holds, until they are erased. */
function revealed(erasable: LoggedEvent['erasable'] = {}): JsonObject {
  return Object.fromEntries(Object.entries(erasable).map(([key, value]) => [key, JSON.parse(value) as JsonValue]));
}

function principalOf(principal: JsonObject): JsonObject {
  const id = textAt(principal, 'principal_id');
  return { id, type: id === 'anonymous' ? 'ANONYMOUS' : 'AGENT', ...principal };
}

function hashesOf(record: JsonObject, meta: JsonObject): JsonObject {
  const hashes: Record<string, JsonValue> = { event_hash: textAt(record, 'event_hash') };
  for (const name of ['capability_hash', 'request_hash', 'response_hash']) {
    if (meta[name] !== undefined) hashes[name] = meta[name];
  }
  return hashes;
}

/** The stored bytes against the leaf that entered the tree when they were committed. */
function integrityOf(event: LoggedEvent): JsonObject {
  const intact = leafHash(event.canon).equals(event.leafHash);
  return {
    proof_state: intact ? 'VERIFIED' : 'FAILED',
    signature_state: 'NOT_PRESENT',
    anchor_state: 'NOT_ENABLED',
    verifier_version: verifierVersion,
    ...(intact ? {} : { failure_reason: 'VERIFIER_ERROR' }),
  };
}

function numberMember(key: string, value: JsonValue | undefined): JsonObject {
  return typeof value === 'number' ? { [key]: value } : {};
}

function objectAt(object: JsonObject, key: string): JsonObject {
  const value = object[key];
  return isJsonObject(value) ? value : {};
}

function textAt(object: JsonObject, key: string): string {
  const value = object[key];
  return typeof value === 'string' ? value : '';
}
