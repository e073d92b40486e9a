/**
 * The calls that stay open at their servers while clients without a session are asked: so many and no more, each under
 * a state that nobody guesses, which its own caller may bring back once, with the same call. What is not found here is
 * never called anew.
 */
import { randomBytes } from 'node:crypto';
import { bounds } from '../../../config/bounds.ts';
import { encodeBase64url } from '../../../core/base64url.ts';
import { describeError, TalosError } from '../../../core/errors.ts';
import { isJsonObject, type JsonObject } from '../../../core/json.ts';
import type { ServerHello } from '../../../mcp/protocol/hello.ts';
import type { ClientHello } from '../../../mcp/protocol/peer.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import { failed } from '../../call-outcome.ts';
import type { Dispatched, Round, Stay, StayFor } from '../../stay.ts';
import { CallerWatch, type LastingRights } from '../caller-watch.ts';
import type { AskClient } from '../peers/ask-client.ts';
import { offeredTo } from '../peers/client-offer.ts';
import type { Peers } from '../peers/peers.ts';
import type { Turn } from '../turn.ts';
import { ParkedCall, type RoundTurn } from './parked-call.ts';

export interface ParkedCallsOptions extends Pick<LastingRights, 'clock' | 'validity' | 'mayReach'> {
  readonly policyMode: PolicyMode;
  readonly askClient: AskClient;
  readonly peers: Peers;
  readonly telemetry: Pick<Telemetry, 'log' | 'mcpOpenCalls'>;
}

/** A request of a client without a session. */
interface ClientRequest {
  readonly turn: Turn;
  readonly client: ClientHello;
  readonly meta: JsonObject | undefined;
}

type AskedCall = Parameters<StayFor>[1];

export class ParkedCalls {
  readonly #options: ParkedCallsOptions;
  readonly #watch: CallerWatch<ParkedCall>;
  readonly #waiting = new Map<string, ParkedCall>();
  readonly #freed = new Map<ParkedCall, () => void>();
  readonly #closings = new Set<Promise<void>>();
  #isClosing = false;

  constructor(options: ParkedCallsOptions) {
    const { validity, clock, mayReach } = options;
    this.#options = options;
    this.#watch = new CallerWatch({
      max: bounds.parkedCallsMax,
      perCallerMax: bounds.parkedCallsPerCallerMax,
      clock,
      validity,
      mayStay: (call) => mayReach(call.caller, (call as ParkedCall).server.id),
    });
  }

  /** Where the calls of a request stay. */
  stayFor(request: ClientRequest): StayFor {
    return async (server, call) => {
      if (call.given?.requestState?.startsWith(statePrefix) === true) return this.#standing(request, server, call);
      if (server.isStateless) return undefined;
      const { turn, client } = request;
      const offered = offeredTo(server.id, client, turn.caller, this.#options.policyMode);
      if (call.given === undefined && Object.keys(offered.capabilities).length === 0) return undefined;
      const era = await eraOf(server, call.signal);
      // What a server with sessions is given without having asked would be a second call.
      if (call.given !== undefined && era instanceof TalosError) return era;
      if (era !== 'session') return undefined;
      if (call.given !== undefined) return notWaiting();
      return server.spec.sessions === 'shared' ? undefined : this.#newStay(request, server, offered);
    };
  }

  readonly judgeAll = (): void => this.#watch.judgeAll();

  readonly reauthenticateAll = (): void => this.#watch.reauthenticateAll();

  /** Nobody is asked any more; rounds that are under way come to their end. */
  quiesce(): void {
    this.#isClosing = true;
    for (const call of [...this.#waiting.values()]) call.end('shutdown');
  }

  /** Ends all; resolves when that is on record. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const call of this.#watch.all()) call.end('shutdown');
    this.#watch.close();
    await Promise.all(this.#closings);
  }

  #newStay(request: ClientRequest, server: McpServer, client: ClientHello): Stay {
    const call = this.#create(this.#roundTurn(request, server), server, client);
    return {
      name: call.name,
      hasBegun: false,
      proceed: async (round) => {
        const full = this.#admit(call);
        if (full !== undefined) return { outcome: failed(full), ...intentOf(round) };
        return await call.begin(round, request.meta);
      },
    };
  }

  /** The call that waits for what the client brings; it is taken when the round begins, and not before. */
  #standing(request: ClientRequest, server: McpServer, asked: AskedCall): Stay | TalosError {
    const { requestState = '', inputResponses = {} } = asked.given ?? {};
    const call = this.#waiting.get(requestState);
    if (call?.isOf(request.turn.caller, server, asked) !== true) return notWaiting();
    if (!Object.values(inputResponses).every(isJsonObject))
      return new TalosError('INVALID_REQUEST', { message: notObjects });
    const turn = this.#roundTurn(request, server);
    return {
      name: call.name,
      hasBegun: true,
      proceed: async (round) => {
        // Another round may have taken it in the meantime.
        if (!this.#waiting.delete(requestState)) return { outcome: failed(notWaiting()) };
        return await call.goOn(round, turn);
      },
    };
  }

  #create(turn: RoundTurn, server: McpServer, client: ClientHello): ParkedCall {
    const { askClient, telemetry, clock } = this.#options;
    return new ParkedCall({
      ...{ turn, server, client, askClient, clock },
      mayWait: () => !this.#isClosing,
      onWaiting: (call) => this.#wait(call),
      onAbandoned: (call, recorded) => this.#abandoned(call, recorded),
      onOver: (call) => this.#over(call),
      warn: (error) =>
        telemetry.log.warn(
          { server: server.id, reason: describeError(error) },
          'the end of a call is not as it should be',
        ),
    });
  }

  #admit(call: ParkedCall): TalosError | undefined {
    if (this.#isClosing) return new TalosError('SERVER_SHUTTING_DOWN');
    try {
      this.#freed.set(call, this.#watch.reserve(call.caller));
    } catch (error) {
      if (!(error instanceof TalosError)) throw error;
      return new TalosError(error.code, { message: tooMany, retryAfterSec: bounds.mcpSessionRetrySec });
    }
    this.#measure();
    this.#watch.add(call);
    return undefined;
  }

  #wait(call: ParkedCall): string {
    const state = statePrefix + encodeBase64url(randomBytes(32));
    this.#waiting.set(state, call);
    return state;
  }

  #abandoned(call: ParkedCall, recorded: Promise<void>): void {
    for (const [state, waiting] of this.#waiting) if (waiting === call) this.#waiting.delete(state);
    const closing = recorded.finally(() => this.#closings.delete(closing));
    this.#closings.add(closing);
  }

  #over(call: ParkedCall): void {
    this.#watch.remove(call);
    this.#freed.get(call)?.();
    this.#freed.delete(call);
    this.#measure();
  }

  #measure(): void {
    this.#options.telemetry.mcpOpenCalls(this.#freed.size);
  }

  /** Progress is told with the token of the round that it comes in, log messages to whom asks for them. */
  #roundTurn({ turn, meta = {} }: ClientRequest, server: McpServer): RoundTurn {
    const { caller, facts, reauthenticate } = turn;
    const { onNotification: tell } = this.#options.peers.ofRequest(turn, server);
    const { progressToken } = meta as JsonObject & { readonly progressToken?: string | number };
    return {
      ...{ caller, facts, reauthenticate },
      onNotification(method, params) {
        if (method !== 'notifications/progress') {
          if (method !== 'notifications/message' || meta[logLevelKey] !== undefined) tell(method, params);
        } else if (progressToken !== undefined) {
          tell(method, { ...params, progressToken });
        }
      },
    };
  }
}

const statePrefix = 'talos-open-call.';
const logLevelKey = 'io.modelcontextprotocol/logLevel';
const tooMany =
  'As many calls as one caller, or this gateway, may have at servers that can ask their clients are open. Try again later.';
const notObjects = 'Each of the inputResponses must be an object.';

function notWaiting(): TalosError {
  return new TalosError('CALL_NOT_WAITING');
}

function intentOf({ intentId }: Round): Pick<Dispatched, 'intentId'> {
  return intentId === undefined ? {} : { intentId };
}

/** Undefined of a server without MCP's handshake; the error of one that does not say. */
async function eraOf(server: McpServer, signal: AbortSignal): Promise<ServerHello['era'] | TalosError> {
  try {
    return (await server.hello(signal)).era;
  } catch (error) {
    if (error instanceof TalosError) return error;
    throw error;
  }
}
