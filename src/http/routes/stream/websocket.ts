/** `/api/events/stream`: the WebSocket that dashboards and SDKs watch the log on, and report events by. */
import { bounds } from '../../../config/bounds.ts';
import { decodeCursor } from '../../../core/cursor.ts';
import { TalosError } from '../../../core/errors.ts';
import type { JsonObject } from '../../../core/json.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import type { Caller, RequestFacts } from '../../../gateway/caller.ts';
import type { SubmitEvents, SubmittedEvent } from '../../../gateway/submit-events.ts';
import type { Gap } from '../../../stream/subscription.ts';
import { type AuthenticateRequest, callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import type { CountMessage, RequestLimits } from '../../limits.ts';
import { type OriginAllowed, onlyAllowedOrigins } from '../../origin.ts';
import type { ShownCredentials, StreamCredentials } from '../../stream-credentials.ts';
import { endingOfError } from '../../stream-ending.ts';
import { openSession, type StreamDeps, type StreamSession } from '../../stream-session.ts';
import { StreamSocket } from '../../stream-socket.ts';
import { acceptWebSocket } from '../../ws.ts';
import { type ClientMessage, type PublishMessage, readFilter, readInit, readMessage } from './messages.ts';

export interface SocketRouteDeps extends StreamDeps {
  readonly authenticate: AuthenticateRequest;
  readonly credentials: StreamCredentials;
  readonly factsOf: FactsOf;
  readonly submitEvents: SubmitEvents;
  readonly messagesAs: RequestLimits['messagesAs'];
  readonly development: boolean;
  readonly originAllowed: OriginAllowed;
}

export function socketRoute(app: App, deps: SocketRouteDeps): void {
  app.get(
    '/api/events/stream',
    {
      config: { surface: 'events.stream' },
      // Not a request with an answer; docs/streams.md tells of it.
      schema: { hide: true },
      exposeHeadRoute: false,
      onRequest: [onlyAllowedOrigins(deps.originAllowed), deps.credentials.hook],
    },
    async (request, reply) => {
      const release = deps.sessions.reserve();
      if (release === undefined) throw new TalosError('STREAMS_FULL');
      const startedAtMs = deps.clock.monotonic();
      try {
        const accepted = await acceptWebSocket(request, reply);
        if (accepted === undefined) return release();
        const seconds = (deps.clock.monotonic() - startedAtMs) / 1000;
        deps.telemetry.requestAnswered({ method: 'GET', endpoint: '/api/events/stream', status: 101, seconds });
        const socket = new StreamSocket(accepted, deps.clock);
        void socket.closed.then(release);
        new Conversation(deps, socket, {
          caller: callerOf(request),
          shown: deps.credentials.shownBy(request),
          facts: deps.factsOf(request),
          countPublish: deps.messagesAs('events.submit', request),
        });
      } catch (error) {
        release();
        throw error;
      }
    },
  );
}

/** What came with the upgrade. */
interface Upgraded {
  readonly caller: Caller;
  readonly shown: ShownCredentials;
  readonly facts: RequestFacts;
  readonly countPublish: CountMessage;
}

/** One client's side of the protocol: `init` first, then whatever it likes, one message after the other. */
class Conversation {
  readonly #deps: SocketRouteDeps;
  readonly #socket: StreamSocket;
  readonly #upgraded: Upgraded;
  readonly #initTimer: NodeJS.Timeout;
  #session: StreamSession | undefined;
  #work: Promise<void> = Promise.resolve();
  #allowance: number = bounds.streamMessagesBurstMax;
  #allowanceAtMs: number;
  #publishes = 0;
  #isOver = false;

  constructor(deps: SocketRouteDeps, socket: StreamSocket, upgraded: Upgraded) {
    this.#deps = deps;
    this.#socket = socket;
    this.#upgraded = upgraded;
    this.#allowanceAtMs = deps.clock.monotonic();
    this.#initTimer = setTimeout(() => this.#fail(invalid('No init arrived in time.')), bounds.streamInitMs);
    void socket.closed.then(() => {
      this.#isOver = true;
      clearTimeout(this.#initTimer);
    });
    socket.onMessage((text) => this.#onMessage(text));
  }

  #onMessage(text: string | undefined): void {
    if (this.#isOver) return;
    if (!this.#takeAllowance()) {
      this.#fail(new TalosError('RATE_LIMITED', { message: 'Too many messages.' }));
      return;
    }
    this.#work = this.#work.then(() => this.#handle(text)).catch((error: unknown) => this.#fail(error));
  }

  #takeAllowance(): boolean {
    const nowMs = this.#deps.clock.monotonic();
    const gained = ((nowMs - this.#allowanceAtMs) / 1000) * bounds.streamMessagesPerSecMax;
    this.#allowance = Math.min(bounds.streamMessagesBurstMax, this.#allowance + gained) - 1;
    this.#allowanceAtMs = nowMs;
    return this.#allowance >= 0;
  }

  /** Says why, and closes. */
  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#initTimer);
    const ending = endingOfError(error);
    const details = error instanceof TalosError ? error.details : undefined;
    if (ending.reason === 'internal_error') this.#deps.telemetry.log.error({ err: error }, 'a stream failed');
    if (this.#session !== undefined) void this.#session.end(ending);
    else {
      this.#deps.telemetry.streamClosed(ending.reason);
      this.#socket.end(ending, details);
    }
  }

  async #handle(text: string | undefined): Promise<void> {
    if (this.#isOver) return;
    if (text === undefined) throw invalid('Messages are text.');
    if (this.#session === undefined) this.#session = await this.#init(text);
    else await this.#take(this.#session, readMessage(text));
  }

  async #init(text: string): Promise<StreamSession> {
    const init = readInit(text);
    clearTimeout(this.#initTimer);
    const filter = readFilter(init.filters);
    const after = cursorIn(init.after_cursor);
    this.#checkTime(init.ts);
    const shown = this.#shownWith(init.capability);
    const caller = await this.#callerWith(shown, init.capability);
    const { facts } = this.#upgraded;
    const session = await openSession(
      this.#deps,
      {
        ...{ surfaceId: 'events.stream', caller, facts, filter, after, nonce: init.nonce },
        reauthenticate: () => this.#deps.credentials.reauthenticate(shown, caller),
      },
      this.#socket,
    );
    // It was given up while it was being opened.
    if (this.#isOver) await session.end({ reason: 'client_left', message: '' });
    return session;
  }

  #checkTime(ts: string): void {
    const sec = parseRfc3339(ts);
    const isNear = sec !== undefined && Math.abs(this.#deps.clock.now() - sec * 1000) <= bounds.streamInitSkewMs;
    if (!isNear) throw new TalosError('AUTH_INVALID', { message: 'ts is not a time near now.' });
  }

  #shownWith(capability: string): ShownCredentials {
    const { shown } = this.#upgraded;
    if (capability === '') return shown;
    if (this.#deps.development && isLegacyCapability(capability)) {
      this.#deps.telemetry.legacyCapabilityUsed();
      return shown;
    }
    return { ...shown, capability };
  }

  async #callerWith(shown: ShownCredentials, capability: string): Promise<Caller> {
    const { caller } = this.#upgraded;
    return shown.capability === capability ? await this.#deps.authenticate(shown, 'open') : caller;
  }

  async #take(session: StreamSession, message: ClientMessage): Promise<void> {
    switch (message.type) {
      case 'heartbeat':
        if (message.last_cursor !== '') session.acknowledge(checkedCursor(message.last_cursor));
        return;
      case 'ack':
        return session.acknowledge(checkedCursor(message.cursor));
      case 'subscribe':
        return this.#moved('subscribed', session, {
          filter: readFilter(message.filters),
          after: cursorIn(message.after_cursor),
        });
      case 'pause':
        session.subscription.pause();
        return this.#tell('paused', session);
      case 'resume':
        await session.authorise();
        await this.#moved('resumed', session, { after: cursorIn(message.after_cursor) });
        return session.subscription.resume();
      case 'publish':
        return this.#publish(session, message);
    }
  }

  async #moved(type: 'subscribed' | 'resumed', session: StreamSession, to: Parameters<StreamSession['move']>[0]) {
    const gap: Gap | undefined = await session.move(to);
    this.#tell(type, session, gap?.from);
    if (gap !== undefined) this.#socket.gap(gap);
  }

  #tell(type: string, session: StreamSession, cursor = session.subscription.position.cursor): void {
    this.#socket.send({ type, last_cursor: cursor });
  }

  /** Several at once, so that they share commits; each is answered under its id. */
  #publish(session: StreamSession, message: PublishMessage): void {
    const { id } = message;
    if (this.#publishes >= bounds.streamPublishesInFlightMax) {
      this.#socket.error('RATE_LIMITED', 'Too many events wait to be recorded.', { id });
      return;
    }
    this.#publishes++;
    void this.#record(session, message)
      .then((result) => this.#socket.send({ type: 'published', id, ...result }))
      .catch((error: unknown) => this.#refuse(id, error))
      .finally(() => this.#publishes--);
  }

  async #record(session: StreamSession, { id, event, idempotency_key: key }: PublishMessage): Promise<object> {
    await this.#upgraded.countPublish(session.caller);
    const facts = { ...this.#upgraded.facts, requestId: id };
    const submit = await this.#deps.submitEvents({ surfaceId: 'events.submit', caller: session.caller, facts });
    const idempotency = key === undefined ? {} : { idempotency: { key, body: event as JsonObject } };
    const submitted = await submit({ events: [event as SubmittedEvent], ...idempotency });
    if (submitted.kind !== 'recorded') return { status: submitted.kind };
    const [committed] = submitted.committed;
    return { status: 'recorded', event_id: committed?.eventId, seq: committed?.seq, cursor: committed?.cursor };
  }

  #refuse(id: string, error: unknown): void {
    const { reason, message } = endingOfError(error);
    const codes = {
      auth_failed: 'AUTH_FAILED',
      capability_expired: 'CAPABILITY_EXPIRED',
      rate_limited: 'RATE_LIMITED',
    } as const;
    const code = Object.hasOwn(codes, reason) ? codes[reason as keyof typeof codes] : undefined;
    const isClients = reason === 'invalid_message';
    const retryAfterSec = error instanceof TalosError ? error.retryAfterSec : undefined;
    this.#socket.error(code ?? (isClients ? 'INVALID_MESSAGE' : 'INTERNAL_ERROR'), message, {
      id,
      ...(retryAfterSec === undefined ? {} : { retry_after_ms: retryAfterSec * 1000 }),
    });
  }
}

/** What dashboards of the development environment send. */
function isLegacyCapability(text: string): boolean {
  return text === 'talos_read_allow' || /^cap_[\w-]*$/.test(text);
}

function invalid(message: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message });
}

function cursorIn(text: string | undefined) {
  return text === undefined || text === '' ? undefined : decodeCursor(text);
}

function checkedCursor(text: string): string {
  decodeCursor(text);
  return text;
}
