/**
 * The audit record `talos.audit_event` v1: its draft (what a corridor knows), its prepared form (everything canonical
 * but the id and the time) and its sealed form (the exact bytes that are hashed, stored and proven).
 *
 * In canonical key order `event_id` comes first and `ts` last, so all between them is serialised before the log's
 * critical section and the two are spliced in inside it.
 */
import type { ApiKeyChange } from './api-key.ts';
import { canonicalize, canonicalString } from './canonical-json.ts';
import { type Count, countsOf } from './counters.ts';
import { cursorOf } from './cursor.ts';
import type { ErasableValue } from './erasable.ts';
import { TalosError } from './errors.ts';
import { sha256Hex } from './hash.ts';
import type { JsonObject, JsonScalar, JsonValue } from './json.ts';
import type { Principal } from './principal.ts';
import type { Revocation } from './revocation.ts';
import type { RoleChange } from './role-change.ts';
import type { SecretChange } from './secret-change.ts';
import type { PolicyChange } from './team-policy.ts';
import type { ApprovalChange } from './tool-approval.ts';
import type { PinChange } from './tool-pin.ts';
import type { ServerChange } from './tool-server.ts';
import type { ClientChange } from './upstream-client.ts';
import type { ConnectionChange } from './upstream-connection.ts';
import { uuidv7Ms } from './uuidv7.ts';

export type Outcome = 'success' | 'failure' | 'denied';

export interface ClientIpHash {
  /** hex(HMAC-SHA256(key, canonical address)). */
  readonly hash: string;
  readonly keyId: string;
}

/** What a corridor knows of an event before it has a place in the log. */
export interface EventDraft {
  readonly surfaceId: string;
  readonly requestId: string;
  readonly outcome: Outcome;
  readonly principal: Principal;
  readonly http: {
    readonly method: string;
    /** The surface's template, never the raw path. */
    readonly path: string;
    readonly statusCode: number;
    readonly clientIp?: ClientIpHash;
  };
  readonly resource: { readonly type: string; readonly id: string };
  readonly meta: Readonly<Record<string, JsonScalar | undefined>>;
  /** What does not fit `meta`: stored beside the record and bound to it by `meta.details_hash`. */
  readonly details?: JsonObject;
  /** For a record that sums up many requests: how many it stands for in the statistics. */
  readonly requests?: number;
  readonly companions?: Companions;
}

/** What commits with a record, or not at all. */
export interface Companions {
  /** The record is an intent (`meta.phase` says so): it stays open until the record of its outcome closes it. */
  readonly opensIntent?: true;
  /** The event id of the intent that this record is the outcome of, unless another record was before it. */
  readonly closesIntent?: string;
  /** The record is the first of a group that was submitted under a key; the others follow it in the same batch. */
  readonly reserves?: Reservation;
  /** What the key of a call answers from now on; only with the record that closes the intent of the call. */
  readonly settlesKey?: KeySettlement;
  /** Uses of capabilities under `max_calls`. When one of them is used up, the record is not made. */
  readonly spends?: readonly Spend[];
  /** Values that the record holds commitments to. */
  readonly erasable?: readonly ErasableValue[];
  /** The record is the first of a group that the spool may hold too: its name tells that it is in the log. */
  readonly spooled?: SpoolName;
  /** The changes of API keys that the record tells of. */
  readonly apiKeys?: readonly ApiKeyChange[];
  /** The change of the roles that the record tells of. */
  readonly roles?: RoleChange;
  /** The change of the secrets that the record tells of. */
  readonly secrets?: SecretChange;
  /** The change of the tool servers that the record tells of. */
  readonly toolServers?: ServerChange;
  /** The changes of pins that the record tells of. */
  readonly pins?: PinChange;
  /** The change of the policies of teams that the record tells of. */
  readonly policies?: PolicyChange;
  /** The change of the approval of a call that the record tells of. */
  readonly approval?: ApprovalChange;
  /** The change of a user's connection to a tool server that the record tells of. */
  readonly connections?: ConnectionChange;
  /** The gateway's registration at an authorization server that the record tells of. */
  readonly upstreamClient?: ClientChange;
  /** The capability that the record says is revoked. */
  readonly revokes?: Revocation;
}

/** Names a group of events that went, or may yet go, through the spool. */
export interface SpoolName {
  /** A UUID for one run of one gateway. */
  readonly run: string;
  readonly number: number;
}

/** One use of a capability that may be used so many times and no more. */
export interface Spend {
  /** hex sha256 of the capability, or of the link of its chain, that says so. */
  readonly linkHash: string;
  readonly max: number;
  /** When the link expires, and its counter with it. Whole Unix seconds. */
  readonly expiresAtSec: number;
}

/** A key of a client's, under which a group of records is made once and never again. */
export interface Reservation {
  /** hex sha256 of whose key it is, for which surface, and the key itself. */
  readonly keyHash: string;
  /** hex sha256 of the canonical body that was sent under it. */
  readonly bodyHash: string;
  /** How many records the group has. */
  readonly records: number;
  /** The place of what the key stands for and may cease to, because nothing came of it. */
  readonly replaces?: number;
}

/**
 * What became of a tool call under a client's key. `answered`: the key answers what is kept of this outcome. `unknown`:
 * nobody knows what became of the call. `freed`: it never reached the tool, and the key may be used again.
 */
export interface KeySettlement {
  readonly kind: 'answered' | 'unknown' | 'freed';
  readonly intentId: string;
}

/** What can be filtered by, beside the record; a projection, never the truth. */
export interface EventKeys {
  readonly surfaceId: string;
  readonly outcome: Outcome;
  readonly teamId: string | null;
  readonly agentId: string | null;
  readonly sessionId: string | null;
  readonly correlationId: string;
  readonly eventType: string | null;
  readonly serverId: string | null;
  readonly tool: string | null;
}

/** A draft with everything serialised that does not depend on its place in the log. */
export interface PreparedEvent {
  /** The canonical record from after the `event_id` member up to before the `ts` member. */
  readonly middle: string;
  readonly keys: EventKeys;
  /** Whether the statistics count the record. */
  readonly isCounted: boolean;
  /** What the record adds to the statistics. */
  readonly counts: readonly Count[];
  /** Canonical JSON of the details, or null. */
  readonly details: string | null;
  readonly companions?: Companions;
  /** UTF-16 length of all text; the queue is bounded by it. */
  readonly size: number;
  /** Of a record that closes an intent: what it becomes when the intent was closed before. It is never larger. */
  readonly late?: () => PreparedEvent;
}

/** A record that is durably in the log. */
export interface CommittedEvent {
  /** Index of the leaf, from 0, without gaps. */
  readonly seq: number;
  readonly eventId: string;
  /** Unix time in milliseconds, assigned by the log. */
  readonly timeMs: number;
  readonly cursor: string;
  /** hex sha256 of the canonical record. */
  readonly eventHash: string;
  /**
   * `replayed`: the key of the event's group was used before for the same body, and this is the record of then.
   * `conflict`: it was used for another body, whose first record this is; the event itself was not recorded.
   * `exhausted`: a capability that the event spends is used up; it was not recorded, and this is no record at all.
   */
  readonly reservation?: 'replayed' | 'conflict' | 'exhausted';
}

export interface RecordBounds {
  readonly recordBytesMax: number;
  readonly detailsBytesMax: number;
}

// {"event_id":"…36…", … ,"ts":"…24…"}
const spliceChars = '{"event_id":"",,"ts":""}'.length + 36 + 24;

/** Throws `RECORD_TOO_LARGE` when the record or its details pass the bounds. */
export function prepareEvent(draft: EventDraft, bounds: RecordBounds): PreparedEvent {
  const prepared = prepareRecord(draft, bounds);
  if (draft.companions?.closesIntent === undefined) return prepared;
  return { ...prepared, late: () => prepareRecord(lateDraft(draft), bounds) };
}

/** What is known of a call after its intent was closed without it: on record, but it closes, settles and counts nothing. */
function lateDraft({ companions = {}, ...draft }: EventDraft): EventDraft {
  const { closesIntent: _, settlesKey: __, ...others } = companions;
  return { ...draft, meta: { ...draft.meta, phase: 'late' }, companions: others };
}

/**
 * Whether the statistics count a record with this `meta.phase`. An intent says only that a call was about to be made, and
 * what came late speaks of a call whose outcome is counted already; a note tells of what no request came to.
 */
export function isCountedPhase(phase: JsonValue | undefined): boolean {
  return phase !== 'intent' && phase !== 'late' && phase !== 'note';
}

function prepareRecord(draft: EventDraft, bounds: RecordBounds): PreparedEvent {
  const details = draft.details === undefined ? null : canonicalize(draft.details);
  if (details !== null && Buffer.byteLength(details) > bounds.detailsBytesMax) throw new TalosError('RECORD_TOO_LARGE');
  const meta = details === null ? draft.meta : { ...draft.meta, details_hash: sha256Hex(details) };
  const middle = canonicalMiddle(draft, meta);
  if (Buffer.byteLength(middle) + spliceChars > bounds.recordBytesMax) throw new TalosError('RECORD_TOO_LARGE');
  const { companions } = draft;
  const isCounted = isCountedPhase(meta['phase']);
  if (erasableChars(companions) > bounds.detailsBytesMax) throw new TalosError('RECORD_TOO_LARGE');
  return {
    middle,
    keys: keysOf(draft),
    isCounted,
    counts: isCounted ? draftCounts(draft) : [],
    details,
    size: middle.length + (details?.length ?? 0) + erasableChars(companions),
    ...(companions === undefined ? {} : { companions }),
  };
}

function erasableChars(companions: Companions | undefined): number {
  return (companions?.erasable ?? []).reduce((chars, { key, value }) => chars + key.length + value.length, 0);
}

function canonicalMiddle(draft: EventDraft, meta: EventDraft['meta']): string {
  return (
    `"http":${canonicalize(httpMember(draft.http))}` +
    `,"meta":${canonicalize(meta as JsonObject)}` +
    `,"outcome":"${draft.outcome}"` +
    `,"principal":${principalMember(draft.principal)}` +
    `,"request_id":${canonicalString(draft.requestId)}` +
    `,"resource":{"resource_id":${canonicalString(draft.resource.id)},"resource_type":${canonicalString(draft.resource.type)}}` +
    `,"schema_id":"talos.audit_event","schema_version":"v1"` +
    `,"surface_id":${canonicalString(draft.surfaceId)}`
  );
}

function httpMember(http: EventDraft['http']): JsonObject {
  const base = { method: http.method, path: http.path, status_code: http.statusCode };
  if (http.clientIp === undefined) return base;
  const { hash, keyId } = http.clientIp;
  return { ...base, client_ip_hash: hash, client_ip_hash_alg: 'HMAC-SHA256', client_ip_hash_key_id: keyId };
}

function principalMember(principal: Principal): string {
  if (principal.authMode === 'anonymous') return '{"auth_mode":"anonymous","principal_id":"anonymous"}';
  const id = canonicalString(principal.id);
  return `{"auth_mode":"bearer","principal_id":${id},"team_id":${canonicalString(principal.teamId)}}`;
}

function keysOf(draft: EventDraft): EventKeys {
  const { meta, principal } = draft;
  const known = principal.authMode === 'bearer';
  return {
    surfaceId: draft.surfaceId,
    outcome: draft.outcome,
    teamId: known ? principal.teamId : null,
    agentId: known ? principal.id : null,
    sessionId: textOrNull(meta['session_id']),
    correlationId: textOrNull(meta['correlation_id']) ?? draft.requestId,
    eventType: textOrNull(meta['event_type']),
    serverId: textOrNull(meta['server_id']),
    tool: textOrNull(meta['tool_name']),
  };
}

function draftCounts({ outcome, requests, meta }: EventDraft): Count[] {
  const latencyMs = meta['latency_ms'];
  return countsOf({
    outcome,
    requests,
    denialReason: textOrNull(meta['denial_reason']),
    latencyMs: typeof latencyMs === 'number' ? latencyMs : null,
  });
}

function textOrNull(value: JsonValue | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

/** The canonical record: the bytes (as UTF-8) that are the leaf, the hash input and what is stored. */
export function sealEvent(prepared: PreparedEvent, eventId: string, timeMs: number): string {
  return `{"event_id":"${eventId}",${prepared.middle},"ts":"${new Date(timeMs).toISOString()}"}`;
}

/** What the log knows of a record once it is sealed at `seq`. */
export function committedEvent(seq: number, eventId: string, canon: string): CommittedEvent {
  return { seq, eventId, timeMs: uuidv7Ms(eventId), cursor: cursorOf(eventId), eventHash: sha256Hex(canon) };
}
