/**
 * One call of a client without a session at a server that asks its clients (`initialize` era). The call is sent once and
 * stays open there; what the server asks in the meantime is the answer to the client's request, and the client's next
 * request brings the replies. Whatever ends it ends the server's session, and how it ended is on record.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { bounds } from '../../../config/bounds.ts';
import type { Clock } from '../../../core/clock.ts';
import { TalosError } from '../../../core/errors.ts';
import { isJsonObject, type JsonObject } from '../../../core/json.ts';
import { sessionVersions } from '../../../mcp/protocol/inbound.ts';
import type { ClientHello, Peer, PeerReply } from '../../../mcp/protocol/peer.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import { UpstreamError } from '../../../mcp/upstream-error.ts';
import type { UpstreamSession } from '../../../mcp/upstream-session.ts';
import { type Asked, failed, fromUpstream, type Outcome } from '../../call-outcome.ts';
import { accountKey, type Caller, isSameCaller, type RequestFacts } from '../../caller.ts';
import { requestHash } from '../../request-hash.ts';
import type { Dispatched, Round, StayingCall } from '../../stay.ts';
import type { CallerEnd, Watched } from '../caller-watch.ts';
import { type AskClient, type Put, unheard } from '../peers/ask-client.ts';
import { AskedRequests } from '../sessions/asked-requests.ts';

/** The client's request that a round comes with. */
export interface RoundTurn {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  /** Judges its credentials anew. */
  readonly reauthenticate: () => Promise<Caller>;
  /** Tells the client what the server says before it answers. */
  readonly onNotification: Peer['onNotification'];
}

type ParkedEnd = CallerEnd | 'client_left' | 'over' | 'shutdown';

export interface ParkedCallOptions {
  readonly server: McpServer;
  readonly client: ClientHello;
  readonly turn: RoundTurn;
  readonly askClient: AskClient;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** False once nobody will be able to answer any more. */
  readonly mayWait: () => boolean;
  /** It waits for its client; gives the state that the client is to bring back. */
  readonly onWaiting: (call: ParkedCall) => string;
  /** It ended while it waited for its client; `recorded` resolves when that is on record, or cannot be. */
  readonly onAbandoned: (call: ParkedCall, recorded: Promise<void>) => void;
  /** It is over, and somebody knows what came of it. */
  readonly onOver: (call: ParkedCall) => void;
  readonly warn: (error: unknown) => void;
}

export class ParkedCall implements Watched {
  readonly name = randomUUID();
  readonly #options: ParkedCallOptions;
  readonly #asked = new AskedRequests();
  /** What the client has not been asked, or not answered yet, by the id that it is asked under. */
  readonly #questions = new Map<string, JsonObject>();
  readonly #life = new AbortController();
  #turn: RoundTurn;
  /** The newest one; the client waits for its answer while `#isInRound`. */
  #round: Round | undefined;
  #isInRound = false;
  #hash = '';
  #intentId: string | undefined;
  #calling: Promise<void> = Promise.resolve();
  #outcome: Outcome | undefined;
  /** Questions that are still being judged. */
  #arriving = 0;
  #wake = (): void => undefined;
  #parkedAtMs = 0;
  #endedBy: ParkedEnd | undefined;

  constructor(options: ParkedCallOptions) {
    this.#options = options;
    this.#turn = options.turn;
  }

  get caller(): Caller {
    return this.#turn.caller;
  }

  get server(): McpServer {
    return this.#options.server;
  }

  /** Nobody has brought what it was asked for. */
  get isIdle(): boolean {
    const waitedMs = this.#options.clock.monotonic() - this.#parkedAtMs;
    return !this.#isInRound && this.#round !== undefined && waitedMs >= bounds.parkedCallMs;
  }

  async reauthenticate(): Promise<boolean> {
    const caller = await this.#turn.reauthenticate();
    if (caller.denial !== undefined || !isSameCaller(caller, this.caller)) return false;
    this.#turn = { ...this.#turn, caller };
    return true;
  }

  /** Whether it is this call that a caller goes on with. */
  isOf(caller: Caller, server: McpServer, call: StayingCall): boolean {
    return (
      server === this.server &&
      isSameCaller(caller, this.caller) &&
      requestHash(call.toolName, call.input) === this.#hash &&
      call.reserves?.keyHash === this.#round?.reserves?.keyHash
    );
  }

  /** Sends the call, with what of the client's `_meta` goes along. Never rejects. */
  async begin(round: Round, meta: JsonObject | undefined): Promise<Dispatched> {
    this.#hash = requestHash(round.toolName, round.input);
    this.#intentId = round.intentId;
    this.#calling = this.#call(round, meta);
    return await this.#answered(round);
  }

  /** Gives the server what the client brings; what is missing is asked again. Never rejects. */
  async goOn(round: Round, turn: RoundTurn): Promise<Dispatched> {
    this.#turn = turn;
    for (const [key, result] of Object.entries(round.given?.inputResponses ?? {})) {
      const isAwaited = this.#questions.delete(key);
      if (isAwaited) this.#asked.settle(Number(key), { result: result as JsonObject });
    }
    return await this.#answered(round);
  }

  /** The server is told, and its session ends; while no round waits for what comes of it, that is put on record here. */
  end(reason: ParkedEnd): void {
    if (this.#endedBy !== undefined) return;
    this.#endedBy = reason;
    this.#life.abort();
    if (!this.#isInRound) this.#options.onAbandoned(this, this.#recordEnd());
  }

  async #answered(round: Round): Promise<Dispatched> {
    this.#round = round;
    this.#isInRound = true;
    const onAbort = () => this.end('client_left');
    round.signal.addEventListener('abort', onAbort, { once: true });
    if (round.signal.aborted) onAbort();
    const dispatched = await this.#news();
    round.signal.removeEventListener('abort', onAbort);
    return dispatched;
  }

  /** What came of the call, or what there is to ask first: in that moment the round is over. */
  async #news(): Promise<Dispatched> {
    for (;;) {
      while (this.#outcome === undefined && !this.#hasQuestions) await this.#change();
      if (this.#outcome === undefined) await delay(bounds.parkedGatherMs);
      if (this.#outcome !== undefined) return this.#over(this.#outcome);
      if (!this.#hasQuestions) continue;
      if (this.#options.mayWait()) return { outcome: this.#park() };
      this.end('shutdown');
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  get #hasQuestions(): boolean {
    return this.#questions.size > 0 && this.#arriving === 0 && this.#endedBy === undefined;
  }

  #park(): Asked {
    this.#isInRound = false;
    this.#parkedAtMs = this.#options.clock.monotonic();
    const methods = [...this.#questions.values()].map(({ method }) => String(method));
    return {
      kind: 'asked',
      output: { inputRequests: Object.fromEntries(this.#questions), requestState: this.#options.onWaiting(this) },
      askedFor: [...new Set(methods)].sort().join(' '),
      waits: true,
    };
  }

  #over(outcome: Outcome): Dispatched {
    this.#isInRound = false;
    this.#endedBy ??= 'over';
    this.#options.onOver(this);
    return this.#intentId === undefined ? { outcome } : { outcome, intentId: this.#intentId };
  }

  /** What the server answered in the meantime is what came of it, though nobody heard it. */
  async #recordEnd(): Promise<void> {
    await this.#calling;
    const outcome = this.#outcome ?? failed(new TalosError('CALL_CANCELLED'), true);
    const wasCancelled = outcome.kind === 'failed' && outcome.error.code === 'CALL_CANCELLED';
    const isLate = this.#endedBy === 'idle' && wasCancelled;
    const ended = this.#over(isLate ? failed(new TalosError('CLIENT_UNANSWERED'), true) : outcome);
    await this.#round?.end(ended).catch(this.#options.warn);
  }

  async #call({ toolName: name, input: args, requestId }: Round, meta: JsonObject | undefined): Promise<void> {
    const { server, client } = this.#options;
    const { signal } = this.#life;
    const peer = this.#peer();
    let session: UpstreamSession | undefined;
    try {
      const protocolVersion = sessionVersions[0] ?? '';
      // A session that is lost fails the call that is in flight in it.
      const owner = accountKey(this.caller);
      session = await server.openSession({ owner, client, protocolVersion, peer, onLost: () => undefined, signal });
      const call = { name, args, requestId, signal, peer, ...(meta && { meta }) };
      this.#outcome = fromUpstream(await session.callTool(call));
    } catch (error) {
      this.#outcome = failure(error, session !== undefined);
    }
    this.#wake();
    await session?.close().catch(this.#options.warn);
  }

  #peer(): Peer {
    return {
      onNotification: (method, params) => {
        if (this.#isInRound) this.#turn.onNotification(method, params);
      },
      onRequest: (method, params, signal) => this.#onRequest(method, params, signal),
    };
  }

  /** What is still being judged is waited for before the client is asked, so that it is asked once. */
  async #onRequest(method: string, params: JsonObject, signal: AbortSignal): Promise<PeerReply> {
    const { askClient, server, client } = this.#options;
    const { caller, facts } = this.#turn;
    let isHere = false;
    const arrived = () => {
      if (!isHere) this.#arriving--;
      isHere = true;
      this.#wake();
    };
    const put: Put = (...question) => {
      const replied = this.#put(...question);
      arrived();
      return replied;
    };
    this.#arriving++;
    try {
      const request = { server, client, sessionName: this.name, caller, facts, method, params, signal };
      return await askClient({ ...request, put });
    } finally {
      arrived();
    }
  }

  async #put(method: string, params: JsonObject, signal: AbortSignal): ReturnType<Put> {
    if (this.#endedBy !== undefined || !this.#options.mayWait()) return unheard('The client cannot be asked any more.');
    if (this.#asked.size >= bounds.mcpAsksMax) return unheard('The client is asked too much.');
    const id = this.#asked.nextId();
    this.#questions.set(String(id), inputRequest(method, params));
    const replied = await this.#asked.replyTo(id, signal, undefined);
    this.#questions.delete(String(id));
    return replied;
  }
}

/** As results of the stateless era have it; progress of a reply could be told to nobody. */
function inputRequest(method: string, { _meta, ...params }: JsonObject & { readonly _meta?: unknown }): JsonObject {
  const { progressToken: _, ...meta } = isJsonObject(_meta) ? (_meta as JsonObject & { progressToken?: unknown }) : {};
  const rest: JsonObject = { ...params, ...(Object.keys(meta).length === 0 ? {} : { _meta: meta }) } as JsonObject;
  return Object.keys(rest).length === 0 ? { method } : { method, params: rest };
}

function failure(error: unknown, wasSent: boolean): Outcome {
  if (error instanceof UpstreamError) return failed(error, error.dispatched);
  return failed(new TalosError('INTERNAL', { cause: error }), wasSent);
}
