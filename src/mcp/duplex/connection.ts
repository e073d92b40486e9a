/**
 * One tool server over a two-way stream, shared by all its clients. The stream is opened by the first request and again
 * by the next request after it ended, not before its back-off has passed.
 */
import { LruMap } from '../../core/lru-map.ts';
import { SingleFlight } from '../../core/single-flight.ts';
import type { Connection, ConnectionOptions, OwnSession, OwnSessionOptions, RpcRequest } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import { ownHello } from '../protocol/era.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { RpcAnswer } from '../protocol/json-rpc.ts';
import { Backoff } from '../resilience/backoff.ts';
import { sessionOver, UpstreamError, unavailable, undispatched } from '../upstream-error.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';
import { Conversation, type ConversationOptions } from './conversation.ts';
import type { OpenWire } from './wire.ts';

export class DuplexConnection implements Connection {
  readonly #options: ConnectionOptions;
  readonly #openWire: OpenWire;
  readonly #backoff: Backoff;
  /** Of sessions of their own that could not start, by who opened them: what one client says delays nobody else. */
  readonly #ownBackoffs: LruMap<Backoff>;
  readonly #starting = new SingleFlight<Conversation>();
  isStateless = false;
  #current: Conversation | undefined;
  #isClosed = false;

  constructor(options: ConnectionOptions, openWire: OpenWire) {
    this.#options = options;
    this.#openWire = openWire;
    this.#backoff = newBackoff(options);
    this.#ownBackoffs = new LruMap(options.bounds.upstreamFailingOwnersMax);
  }

  /** Whether a stream stands or is about to. */
  get isOpen(): boolean {
    return this.#current !== undefined;
  }

  async request(request: RpcRequest): Promise<RpcAnswer> {
    const conversation = this.#current?.isReady ? this.#current : await this.#started(request.deadline);
    return conversation.request(request);
  }

  async hello(deadline: Deadline): Promise<ServerHello> {
    return (await this.#started(deadline)).hello;
  }

  async openSession(session: OwnSessionOptions): Promise<OwnSession | undefined> {
    const { client, protocolVersion, peer, onLost, onChange, deadline, owner = '' } = session;
    // Known already: to find out again takes a process.
    if (this.isStateless) return undefined;
    let isOpen = false;
    const onOver = (reason: string) => {
      if (isOpen) onLost(reason);
      isOpen = false;
    };
    const options = { ...this.#options, onChange };
    const conversation = this.#conversation({ client, protocolVersion, peer, onOver, options });
    await this.#beginOwn(conversation, owner, deadline);
    if (conversation.era.kind === 'stateless') {
      await conversation.stop();
      return undefined;
    }
    // It may have ended since, before there was anybody to tell.
    if (!conversation.isReady) throw unavailable('it ended right after the handshake');
    isOpen = true;
    return {
      hello: conversation.hello,
      request: (request) => (isOpen ? conversation.request(request) : Promise.reject(sessionOver())),
      notify: (method, params) => conversation.notify(method, params),
      close: async () => {
        isOpen = false;
        await conversation.stop();
      },
    };
  }

  async listen(options: ListenOptions, deadline: Deadline): Promise<Listening | undefined> {
    const conversation = await this.#started(deadline);
    return conversation.era.kind === 'stateless' ? conversation.listen(options, deadline) : undefined;
  }

  /** What changes comes on the stream itself; as long as there is none, nobody has seen what could change. */
  async attend(): Promise<void> {}

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#current?.stop();
  }

  async #started(deadline: Deadline): Promise<Conversation> {
    if (this.#current?.isReady) return this.#current;
    try {
      return await deadline.wait(this.#starting.run(() => this.#start()));
    } catch (error) {
      throw undispatched(error);
    }
  }

  /** What cannot even start delays the next session of the same owner; what ends later is that client's own affair. */
  async #beginOwn(conversation: Conversation, owner: string, deadline: Deadline): Promise<void> {
    const backoff = this.#ownBackoffs.get(owner) ?? newBackoff(this.#options);
    this.#assertMayStart();
    assertOver(backoff);
    try {
      await this.#begin(conversation, deadline);
      this.#ownBackoffs.delete(owner);
    } catch (error) {
      if (isOfServer(error) && backoff.waitMs === 0) {
        backoff.failed(0);
        this.#ownBackoffs.set(owner, backoff);
      }
      throw undispatched(error);
    }
  }

  async #start(): Promise<Conversation> {
    const { clock, bounds } = this.#options;
    const startedAtMs = clock.monotonic();
    const conversation = this.#conversation({
      client: ownHello,
      onOver: (reason) => this.#ended(conversation, reason, startedAtMs),
    });
    this.#assertMayStart();
    this.#current = conversation;
    try {
      await this.#begin(conversation, new Deadline(clock, bounds.stdioStartTimeoutMs));
    } catch (error) {
      if (this.#current === conversation) this.#current = undefined;
      throw error;
    }
    this.isStateless = conversation.era.kind === 'stateless';
    return conversation;
  }

  #conversation(own: Omit<ConversationOptions, 'options' | 'openWire'> & Partial<ConversationOptions>): Conversation {
    return new Conversation({ options: this.#options, openWire: this.#openWire, ...own });
  }

  /** Throws `UpstreamError`. */
  async #begin(conversation: Conversation, deadline: Deadline): Promise<void> {
    this.#assertMayStart();
    await conversation.start(deadline);
    if (!this.#isClosed) return;
    await conversation.stop();
    throw unavailable('the gateway is closing');
  }

  #assertMayStart(): void {
    if (this.#isClosed) throw unavailable('the gateway is closing');
    assertOver(this.#backoff);
  }

  #ended(conversation: Conversation, reason: string, startedAtMs: number): void {
    if (this.#current === conversation) this.#current = undefined;
    if (this.#isClosed) return;
    const { clock, log, spec } = this.#options;
    this.#backoff.failed(clock.monotonic() - startedAtMs);
    const retryInMs = Math.ceil(this.#backoff.waitMs);
    log.warn({ server: spec.id, reason, retryInMs }, 'the connection to a tool server ended');
  }
}

function newBackoff({ clock, bounds }: ConnectionOptions): Backoff {
  return new Backoff({ clock, minMs: bounds.stdioRestartBackoffMinMs, maxMs: bounds.stdioRestartBackoffMaxMs });
}

/** Neither a fault of ours nor the client's leaving says anything of how it starts. */
function isOfServer(error: unknown): boolean {
  return error instanceof UpstreamError && !error.isOurs && error.code !== 'CALL_CANCELLED';
}

function assertOver(backoff: Backoff): void {
  const waitMs = Math.ceil(backoff.waitMs);
  if (waitMs > 0) throw unavailable(`it ended; it may start again in ${waitMs} ms`);
}
