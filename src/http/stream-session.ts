/**
 * One session that watches the log, whichever transport it has: opened on record, subscribed, judged while it lasts, and
 * closed on record. It is over when its connection is.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { type Cursor, encodeCursor } from '../core/cursor.ts';
import { describeError } from '../core/errors.ts';
import type { Caller, RequestFacts } from '../gateway/caller.ts';
import type { OpenStreamRequest, StreamEvents, StreamSurface, VisibleFilter } from '../gateway/stream-events.ts';
import type { Ending, EndReason } from '../stream/ending.ts';
import type { StreamFilter } from '../stream/filter.ts';
import type { Session, Sessions } from '../stream/sessions.ts';
import { positionBehind, type Streams } from '../stream/streams.ts';
import type { Gap, Position, Sink, Subscription } from '../stream/subscription.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { endingOfError } from './stream-ending.ts';

export interface StreamDeps {
  readonly streamEvents: StreamEvents;
  readonly streams: Streams;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/** A connection to a client. What is written to one that is closed is lost. */
export interface Transport extends Sink {
  readonly kind: 'websocket' | 'sse';
  /** The first thing that the client is told. */
  readonly welcome: (session: { readonly id: string; readonly lastCursor: string }) => void;
  readonly heartbeat: (lastCursor: string) => void;
  /** Says why, and closes the connection. */
  readonly end: (ending: Ending) => void;
  readonly silentMs: () => number;
  /** Resolves when the connection is closed, by whomever. */
  readonly closed: Promise<void>;
}

/** What a client asks for. */
export interface SessionRequest {
  readonly surfaceId: StreamSurface;
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly filter: StreamFilter;
  readonly after: Cursor | undefined;
  readonly nonce?: string;
  /** Judges the credentials anew. */
  readonly reauthenticate: () => Promise<Caller>;
}

/** Throws what `StreamEvents.open` does, and `STORE_UNAVAILABLE`; the transport is then as it was. */
export async function openSession(
  deps: StreamDeps,
  request: SessionRequest,
  transport: Transport,
): Promise<StreamSession> {
  const { surfaceId, caller, facts, filter, after, nonce } = request;
  const start = after === undefined ? undefined : await deps.streams.positionAfter(after);
  const record = {
    ...{ surfaceId, caller, facts, filter, sessionId: randomUUID(), transport: transport.kind },
    ...(after === undefined ? {} : { resumedFrom: encodeCursor(after) }),
    ...(nonce === undefined ? {} : { nonce }),
  };
  const { visible, opened } = await deps.streamEvents.open(record);
  const position = start?.position ?? positionBehind(opened);
  return new StreamSession(deps, request, transport, { record, visible, position, gap: start?.gap });
}

interface Opened {
  readonly record: OpenStreamRequest;
  readonly visible: VisibleFilter;
  readonly position: Position;
  readonly gap: Gap | undefined;
}

export class StreamSession implements Session {
  readonly id: string;
  readonly transport: 'websocket' | 'sse';
  readonly principalId: string;
  readonly teamId: string | undefined;
  readonly openedAtMs: number;
  readonly subscription: Subscription;
  readonly #deps: StreamDeps;
  readonly #request: SessionRequest;
  readonly #connection: Transport;
  readonly #record: OpenStreamRequest;
  readonly #openedAtMonotonicMs: number;
  readonly #over: Promise<void>;
  #caller: Caller;
  #filter: StreamFilter;
  #visible: VisibleFilter;
  #acknowledged = '';
  #endedBy: EndReason | undefined;

  constructor(deps: StreamDeps, request: SessionRequest, connection: Transport, opened: Opened) {
    const { principal } = request.caller;
    this.id = opened.record.sessionId;
    this.transport = connection.kind;
    this.principalId = principal.authMode === 'bearer' ? principal.id : 'anonymous';
    this.teamId = principal.authMode === 'bearer' ? principal.teamId : undefined;
    this.openedAtMs = deps.clock.now();
    this.#openedAtMonotonicMs = deps.clock.monotonic();
    this.#deps = deps;
    this.#request = request;
    this.#connection = connection;
    this.#record = opened.record;
    this.#caller = request.caller;
    this.#filter = request.filter;
    this.#visible = opened.visible;
    const filter = { ...request.filter, ...opened.visible };
    this.subscription = deps.streams.subscribe({ sink: connection, filter, position: opened.position });
    // Before the reader is served for the first time, which is in another turn of the event loop.
    connection.welcome({ id: this.id, lastCursor: opened.gap?.from ?? opened.position.cursor });
    if (opened.gap !== undefined) connection.gap(opened.gap);
    this.#over = connection.closed.then(() => this.#closed());
    deps.sessions.add(this);
  }

  /** Who it belongs to, as judged last. */
  get caller(): Caller {
    return this.#caller;
  }

  readonly acknowledged = (): string => this.#acknowledged;

  acknowledge(cursor: string): void {
    // What the buffers of the network hold does not show on this side: a slow client tells that it moves.
    if (cursor !== this.#acknowledged) this.subscription.hasMoved();
    this.#acknowledged = cursor;
  }

  readonly silentMs = (): number => this.#connection.silentMs();

  readonly expiresAtMs = (): number => this.#caller.expiresAtMs ?? Number.POSITIVE_INFINITY;

  readonly judge = (): Ending | undefined => {
    const denial = this.#deps.streamEvents.validity(this.#caller);
    // While it cannot be told, because the store is away, nothing is sent.
    this.subscription.hold(denial?.retryable === true);
    if (denial === undefined || denial.retryable === true) return undefined;
    const reason = denial.reason === 'EXPIRED' ? 'capability_expired' : 'auth_failed';
    return { reason, message: denial.message };
  };

  readonly heartbeat = (): void => this.#connection.heartbeat(this.subscription.position.cursor);

  readonly end = (ending: Ending): Promise<void> => {
    if (this.#endedBy === undefined) {
      this.#endedBy = ending.reason;
      this.subscription.close();
      this.#connection.end(ending);
    }
    return this.#over;
  };

  readonly reauthorise = async (): Promise<boolean> => {
    try {
      if (this.#endedBy === undefined) await this.authorise();
      return true;
    } catch (error) {
      const ending = endingOfError(error);
      // It may, and is asked more often than its capability is meant to be used: nobody did that but the gateway.
      if (ending.reason === 'rate_limited') return true;
      if (ending.reason !== 'internal_error') void this.end(ending);
      return ending.reason !== 'internal_error';
    }
  };

  /** Judges the caller anew. Throws what says that it may not watch any more. */
  async authorise(): Promise<void> {
    const caller = await this.#request.reauthenticate();
    const { surfaceId, facts } = this.#request;
    const visible = await this.#deps.streamEvents.authorise({ surfaceId, caller, facts });
    this.#caller = caller;
    if (JSON.stringify(visible) === JSON.stringify(this.#visible)) return;
    this.#visible = visible;
    this.subscription.move({ filter: { ...this.#filter, ...visible } });
  }

  /** Goes on with another filter, or from another place. Throws `STORE_UNAVAILABLE`. */
  async move(to: { readonly filter?: StreamFilter; readonly after: Cursor | undefined }): Promise<Gap | undefined> {
    const start = to.after === undefined ? undefined : await this.#deps.streams.positionAfter(to.after);
    if (to.filter !== undefined) this.#filter = to.filter;
    this.subscription.move({
      filter: { ...this.#filter, ...this.#visible },
      ...(start === undefined ? {} : { position: start.position }),
    });
    return start?.gap;
  }

  async #closed(): Promise<void> {
    const endedBy = this.#endedBy ?? 'client_left';
    this.#endedBy = endedBy;
    this.subscription.close();
    this.#deps.sessions.remove(this, endedBy);
    const durationMs = Math.round(this.#deps.clock.monotonic() - this.#openedAtMonotonicMs);
    const eventsSent = this.subscription.sent.events;
    try {
      await this.#deps.streamEvents.closed(this.#record, { endedBy, eventsSent, durationMs });
    } catch (error) {
      this.#deps.telemetry.log.warn(
        { sessionId: this.id, reason: describeError(error) },
        'the end of a session could not be recorded',
      );
    }
  }
}
