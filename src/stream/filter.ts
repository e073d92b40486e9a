/** Which records a reader gets: the same conditions as in the table, for records that are in memory. */
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { isVisible } from '../core/visible-teams.ts';
import type { EventFilter } from '../storage/events.ts';

/** Equality on what is given; a record that lacks a filtered key does not match. */
export type StreamFilter = Omit<EventFilter, 'fromMs' | 'toMs'>;

type Equalities = Omit<StreamFilter, 'teams'>;

/** What a record can be filtered by; undefined where the record has nothing. */
export type RecordKeys = { readonly [key in keyof Equalities | 'teamId']-?: string | undefined };

/** The keys of a strict record, as the log projects them. */
export function keysOfRecord(record: JsonObject): RecordKeys {
  const meta = objectAt(record, 'meta');
  const principal = objectAt(record, 'principal');
  const isKnown = principal['auth_mode'] !== 'anonymous';
  const outcome = textOf(record['outcome']);
  return {
    outcome,
    denialReason: outcome === 'denied' ? textOf(meta['denial_reason']) : undefined,
    teamId: isKnown ? textOf(principal['team_id']) : undefined,
    agentId: isKnown ? textOf(principal['principal_id']) : undefined,
    sessionId: textOf(meta['session_id']),
    correlationId: textOf(meta['correlation_id']) ?? textOf(record['request_id']),
    eventType: textOf(meta['event_type']),
    serverId: textOf(meta['server_id']),
    tool: textOf(meta['tool_name']),
  };
}

/** A filter, ready for use. */
export interface FilterView {
  readonly filter: StreamFilter;
  /** The same for equal filters. */
  readonly text: string;
  readonly matches: (keys: RecordKeys) => boolean;
}

export function viewOf(filter: StreamFilter): FilterView {
  const { teams = 'all', ...equalities } = filter;
  const conditions = Object.entries(equalities) as [keyof Equalities, string][];
  return {
    filter,
    text: JSON.stringify([teams, ...conditions.toSorted(([a], [b]) => (a < b ? -1 : 1))]),
    matches: (keys) => isVisible(teams, keys.teamId) && conditions.every(([key, value]) => keys[key] === value),
  };
}

function objectAt(object: JsonObject, key: string): JsonObject {
  const value = object[key];
  return isJsonObject(value) ? value : {};
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
