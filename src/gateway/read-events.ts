/**
 * Reading the log: only for those who may, and only what they may see (`visibleTeams`). Streams show by the same rule,
 * with `isVisible` of core/visible-teams.ts.
 */
import type { Cursor } from '../core/cursor.ts';
import { TalosError } from '../core/errors.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import { isUuidv7 } from '../core/uuidv7.ts';
import { type PolicyMode, visibleTeams } from '../policy/decide.ts';
import type { EventFilter, EventReader, LogPart, StoredEvent } from '../storage/events.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller, RequestFacts } from './caller.ts';

export type { EventFilter, StoredEvent };

export interface ReadRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
}

export interface ListEventsRequest extends ReadRequest {
  readonly filter: EventFilter;
  readonly limit: number;
  readonly before?: Cursor;
  readonly after?: Cursor;
}

export interface ReadRecordsRequest extends ReadRequest, LogPart {}

export interface ReadEvents {
  /** Newest first, or oldest first when `after` is given. `hasMore` is exact. */
  readonly list: (request: ListEventsRequest) => Promise<{ events: StoredEvent[]; hasMore: boolean }>;
  /** Throws `NOT_FOUND` for an id that is not in the log or not the caller's to see, `RECORD_PRUNED` for one too old. */
  readonly get: (request: ReadRequest & { readonly eventId: string }) => Promise<StoredEvent>;
  /** A part of the log for those who copy it, oldest first; a page that is not full may still not be the last one. */
  readonly records: (request: ReadRecordsRequest) => Promise<StoredEvent[]>;
  readonly count: (request: ReadRequest & { readonly filter: EventFilter }) => Promise<number>;
}

export interface ReadEventsOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly policyMode: PolicyMode;
  readonly events: EventReader;
}

export function createReadEvents(options: ReadEventsOptions): ReadEvents {
  const { authorizeAction, policyMode, events } = options;

  async function permitted(surfaceId: SurfaceId, request: ReadRequest): Promise<Pick<EventFilter, 'teams'>> {
    await authorizeAction(surfaceId, request.caller, request.facts);
    return teamFilter('events.read', request.caller, policyMode);
  }

  return {
    async list(request) {
      const team = await permitted('events.list', request);
      return await events.list({ ...request, filter: { ...request.filter, ...team } });
    },
    async get(request) {
      const team = await permitted('events.get', request);
      if (!isUuidv7(request.eventId)) throw noSuchEvent();
      const event = await events.get(request.eventId, team);
      if (event === undefined) throw await absence(events, request.eventId);
      return event;
    },
    async records(request) {
      const team = await permitted('events.records', request);
      return await events.records({ ...request, filter: { ...request.filter, ...team } });
    },
    async count(request) {
      const team = await permitted('events.stats', request);
      return await events.count({ ...request.filter, ...team });
    },
  };
}

/** Ids are in the order of the log, so of one that is older than all records it is known that it would be gone. */
async function absence(events: EventReader, eventId: string): Promise<TalosError> {
  if (await events.isPruned(eventId)) return new TalosError('RECORD_PRUNED');
  return noSuchEvent();
}

function noSuchEvent(): TalosError {
  return new TalosError('NOT_FOUND', { message: 'There is no such event.' });
}

/** What of the log the caller may see, as a filter. `action` is that of the surface that shows it. */
export function teamFilter(action: string, caller: Caller, mode: PolicyMode): Pick<EventFilter, 'teams'> {
  const teams = visibleTeams(action, caller, mode);
  return teams === 'all' ? {} : { teams };
}
