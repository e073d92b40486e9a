/**
 * The open sessions of one process. Once a second each is looked at: whether it may still watch, whether it moves, and
 * whether it is due to be told where it stands.
 */
import { randomInt } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import type { StreamTransport } from '../telemetry/stream.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Ending } from './ending.ts';
import type { Subscription } from './subscription.ts';

export interface Session {
  readonly id: string;
  readonly transport: StreamTransport;
  readonly principalId: string;
  readonly teamId: string | undefined;
  /** Unix milliseconds. */
  readonly openedAtMs: number;
  readonly subscription: Subscription;
  /** The newest cursor that the client says it has; empty when it never said so. */
  readonly acknowledged: () => string;
  /** For how long nothing came from the client; 0 where nothing is expected. */
  readonly silentMs: () => number;
  /** Why it must end, as far as memory and clock tell; what cannot be told now holds it back. */
  readonly judge: () => Ending | undefined;
  /** When the caller's credential ends, in Unix milliseconds; infinite when it does not. */
  readonly expiresAtMs: () => number;
  /** Judges the caller's credential anew, and ends the session when it does not hold. False when that cannot be told now. */
  readonly reauthorise: () => Promise<boolean>;
  readonly heartbeat: () => void;
  /** Tells the client, and lets go. Resolves when the connection is closed and that is on record. */
  readonly end: (ending: Ending) => Promise<void>;
}

interface Entry {
  readonly session: Session;
  sentBytes: number;
  sentEvents: number;
  heartbeatAtMs: number;
  authorisedAtMs: number;
}

export interface SessionsOptions {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly lag: () => { readonly records: number; readonly seconds: number };
}

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #timer: NodeJS.Timeout;
  readonly #due = new Set<Entry>();
  #reauthorising = 0;
  #changedAtMs = Number.NEGATIVE_INFINITY;
  #reserved = 0;
  #isClosing = false;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#sweep(), bounds.streamSweepMs).unref();
  }

  /** Takes a place for a connection that may become a session; undefined when there is none. Call what it returns once. */
  reserve(): (() => void) | undefined {
    if (this.#isClosing || this.#reserved >= bounds.streamSessionsMax) return undefined;
    this.#reserved++;
    return () => {
      this.#reserved--;
    };
  }

  add(session: Session): void {
    const nowMs = this.#options.clock.monotonic();
    const entry = { session, sentBytes: 0, sentEvents: 0, heartbeatAtMs: nowMs, authorisedAtMs: nowMs };
    this.#entries.set(session.id, entry);
    this.#measure();
    // It was authenticated before, and added just now.
    if (nowMs - this.#changedAtMs <= bounds.streamOpeningMs) this.#reauthorise([entry]);
    // It was opened while the others were being closed.
    if (this.#isClosing) void session.end(goingAway());
  }

  remove(session: Session, reason: string): void {
    const entry = this.#entries.get(session.id);
    if (entry === undefined) return;
    this.#entries.delete(session.id);
    this.#due.delete(entry);
    this.#count(entry);
    this.#options.telemetry.streamClosed(reason);
    this.#measure();
  }

  list(): Session[] {
    return [...this.#entries.values()].map(({ session }) => session);
  }

  /** Those whose capability may not hold any more are looked at now. */
  judgeAll(): void {
    for (const { session } of [...this.#entries.values()]) this.#judge(session);
  }

  /** Keys or roles have changed: whether everybody still may is asked again. */
  reauthoriseAll(): void {
    this.#changedAtMs = this.#options.clock.monotonic();
    this.#reauthorise(this.#entries.values());
  }

  /** Sends everybody away and waits until they are gone. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all(this.list().map((session) => session.end(goingAway())));
    clearInterval(this.#timer);
  }

  #sweep(): void {
    for (const entry of [...this.#entries.values()]) this.#look(entry);
    this.#measure();
  }

  #look(entry: Entry): void {
    const { session } = entry;
    this.#count(entry);
    if (this.#judge(session)) return;
    const nowMs = this.#options.clock.monotonic();
    const isOld = nowMs - entry.authorisedAtMs >= bounds.streamReauthoriseMs;
    if (isOld || session.expiresAtMs() <= this.#options.clock.now()) this.#reauthorise([entry]);
    if (nowMs - entry.heartbeatAtMs < bounds.streamHeartbeatMs) return;
    entry.heartbeatAtMs = nowMs;
    // Whoever does not take what was written need not be written to.
    if (session.subscription.stuckMs() === 0) session.heartbeat();
  }

  /** A few at a time: the answer may be the store's. Whoever becomes due while being asked is asked once more. */
  #reauthorise(entries: Iterable<Entry>): void {
    for (const entry of entries) this.#due.add(entry);
    // Each takes one at once.
    while (this.#reauthorising < bounds.streamReauthorisingMax && this.#due.size > 0) void this.#reauthoriseDue();
  }

  async #reauthoriseDue(): Promise<void> {
    this.#reauthorising++;
    for (const entry of this.#due) {
      this.#due.delete(entry);
      const askedAtMs = this.#options.clock.monotonic();
      // Otherwise it is as old as it was, and the next sweep asks again.
      if (await entry.session.reauthorise()) entry.authorisedAtMs = askedAtMs;
      else entry.authorisedAtMs = Number.NEGATIVE_INFINITY;
    }
    this.#reauthorising--;
  }

  /** True when the session is over. */
  #judge(session: Session): boolean {
    const ending = endingOf(session);
    if (ending !== undefined) void session.end(ending);
    return ending !== undefined;
  }

  #count(entry: Entry): void {
    const { events, bytes } = entry.session.subscription.sent;
    const { transport } = entry.session;
    this.#options.telemetry.streamSent({
      transport,
      events: events - entry.sentEvents,
      bytes: bytes - entry.sentBytes,
    });
    entry.sentEvents = events;
    entry.sentBytes = bytes;
  }

  #measure(): void {
    const { records, seconds } = this.#options.lag();
    this.#options.telemetry.streamsMeasured({ sessions: this.#entries.size, lagRecords: records, lagSeconds: seconds });
  }
}

function endingOf(session: Session): Ending | undefined {
  if (session.subscription.stuckMs() >= bounds.streamSlowMs) {
    return { reason: 'slow_consumer', message: 'Nothing was taken for too long.' };
  }
  if (session.silentMs() >= bounds.streamSilentMs)
    return { reason: 'silent', message: 'Nothing was heard for too long.' };
  return session.judge();
}

/** Not all at the same moment. */
function goingAway(): Ending {
  const retryAfterMs = randomInt(bounds.streamReconnectMsMin, bounds.streamReconnectMsMax);
  return { reason: 'shutdown', message: 'The gateway is stopping.', retryAfterMs };
}
