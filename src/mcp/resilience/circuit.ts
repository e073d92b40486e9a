/**
 * The circuit breaker of one tool server. After several failures in a row without an answer, requests fail at once until
 * a probe of our own is answered. What a tool does, however badly or slowly, does not open it: only a server that cannot
 * be reached, or that does not answer the probe either.
 */
import type { Clock } from '../../core/clock.ts';
import { SingleFlight } from '../../core/single-flight.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import type { Asking, Connection, RpcRequest } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { RpcAnswer } from '../protocol/json-rpc.ts';
import { UpstreamError, type UpstreamErrorCode } from '../upstream-error.ts';
import { Backoff } from './backoff.ts';

/** `failing`: the last request had no answer; `down`: requests are refused until the server answers a probe. */
export type HealthState = 'unknown' | 'up' | 'failing' | 'down';

export interface ServerHealth {
  readonly state: HealthState;
  /** Requests without an answer since the last answer. */
  readonly failures: number;
  /** Unix time in milliseconds. */
  readonly answeredAtMs?: number;
  readonly lastFailure?: { readonly code: UpstreamErrorCode; readonly atMs: number };
  /** Until the next probe, while it is down. */
  readonly retryInMs?: number;
}

export interface CircuitOptions {
  readonly serverId: string;
  readonly connection: Pick<Connection, 'request' | 'hello' | 'close'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  readonly probeTimeoutMs: number;
  /** Told of every change of the state. */
  readonly onHealth: (state: HealthState) => void;
}

export class Circuit implements Asking {
  readonly #options: CircuitOptions;
  readonly #backoff: Backoff;
  readonly #probing = new SingleFlight<void>();
  #state: HealthState = 'unknown';
  #failures = 0;
  #closedAtMs: number;
  #answeredAtMs: number | undefined;
  #lastFailure: ServerHealth['lastFailure'];
  #timer: NodeJS.Timeout | undefined;
  #isClosing = false;

  constructor(options: CircuitOptions) {
    this.#options = options;
    const { clock, bounds } = options;
    this.#closedAtMs = clock.monotonic();
    this.#backoff = new Backoff({ clock, minMs: bounds.upstreamCircuitMinMs, maxMs: bounds.upstreamCircuitMaxMs });
  }

  get health(): ServerHealth {
    return {
      state: this.#state,
      failures: this.#failures,
      ...(this.#answeredAtMs === undefined ? {} : { answeredAtMs: this.#answeredAtMs }),
      ...(this.#lastFailure === undefined ? {} : { lastFailure: this.#lastFailure }),
      ...(this.#state === 'down' ? { retryInMs: Math.ceil(this.#backoff.waitMs) } : {}),
    };
  }

  request(request: RpcRequest): Promise<RpcAnswer> {
    return this.#guarded(() => this.#options.connection.request(request), { isOfAll: true, isAnswer: yes });
  }

  hello(deadline: Deadline): Promise<ServerHello> {
    // It may have been remembered, and then nobody was asked.
    return this.#guarded(() => this.#options.connection.hello(deadline), { isOfAll: true, isAnswer: no });
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#timer);
    await this.#options.connection.close();
  }

  /**
   * What is asked of the same server for one client alone: when it fails, that may be this client's doing. `isAnswer`
   * says whether what came of it came from the server. Throws at once while it is down, and what `ask` throws.
   */
  guard<T>(ask: () => Promise<T>, isAnswer: (given: T) => boolean = yes): Promise<T> {
    return this.#guarded(ask, { isOfAll: false, isAnswer });
  }

  async #guarded<T>(
    ask: () => Promise<T>,
    { isOfAll, isAnswer }: { readonly isOfAll: boolean; readonly isAnswer: (given: T) => boolean },
  ): Promise<T> {
    if (this.#state === 'down') throw this.#refusal();
    try {
      const given = await ask();
      if (isAnswer(given)) this.#answered();
      return given;
    } catch (error) {
      this.#judge(error, isOfAll);
      throw error;
    }
  }

  #refusal(): UpstreamError {
    return new UpstreamError('UPSTREAM_UNAVAILABLE', {
      dispatched: false,
      retryAfterSec: Math.max(1, Math.ceil(this.#backoff.waitMs / 1000)),
      inside: `it does not answer (${this.#lastFailure?.code}), so it is not asked until a probe is answered`,
    });
  }

  #judge(error: unknown, isOfAll: boolean): void {
    if (!(error instanceof UpstreamError) || !saysSomething(error)) return;
    if (isTooMuch(error)) this.#answered();
    else this.#failed(error, isOfAll);
  }

  #failed(error: UpstreamError, isOfAll: boolean): void {
    this.#note(error);
    if (this.#state === 'down') return;
    this.#become('failing');
    if (this.#failures < this.#options.bounds.upstreamCircuitFailuresMax) return;
    // That nothing could be sent is the server's doing. Anything else may be a tool's, or an impatient caller's.
    const isPlain = isOfAll && error.code === 'UPSTREAM_UNAVAILABLE' && !error.dispatched;
    if (isPlain) this.#open();
    else void this.#probe();
  }

  #note({ code }: UpstreamError): void {
    this.#failures++;
    this.#lastFailure = { code, atMs: this.#options.clock.now() };
  }

  #answered(): void {
    const { clock, log, serverId } = this.#options;
    this.#failures = 0;
    this.#answeredAtMs = clock.now();
    if (this.#state === 'up') return;
    if (this.#state === 'down') {
      clearTimeout(this.#timer);
      this.#closedAtMs = clock.monotonic();
      log.info({ server: serverId }, 'a tool server answers again');
    }
    this.#become('up');
  }

  #open(): void {
    if (this.#isClosing) return;
    const { clock, log, serverId } = this.#options;
    this.#backoff.failed(this.#state === 'down' ? 0 : clock.monotonic() - this.#closedAtMs);
    const retryInMs = Math.ceil(this.#backoff.waitMs);
    if (this.#state !== 'down') {
      const failure = this.#lastFailure?.code;
      log.warn(
        { server: serverId, failure, retryInMs },
        'a tool server is not asked any more until it answers a probe',
      );
    }
    this.#become('down');
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#probe(), retryInMs).unref();
  }

  #become(state: HealthState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onHealth(state);
  }

  /** Asks what every server can answer and nothing comes of. Never fails. */
  #probe(): Promise<void> {
    return this.#probing.run(async () => {
      const { connection, clock, probeTimeoutMs } = this.#options;
      try {
        const deadline = new Deadline(clock, probeTimeoutMs);
        await connection.request({ method: 'tools/list', params: {}, deadline });
        this.#answered();
      } catch (error) {
        if (error instanceof UpstreamError && isTooMuch(error)) {
          this.#answered();
          return;
        }
        if (error instanceof UpstreamError) this.#note(error);
        this.#open();
      }
    });
  }
}

/** Whether the failure tells of the server: a caller who left and a secret of ours that is missing do not. */
function saysSomething({ code, isOurs }: UpstreamError): boolean {
  return !isOurs && code !== 'CALL_CANCELLED' && code !== 'UPSTREAM_BUSY';
}

function yes(): boolean {
  return true;
}

function no(): boolean {
  return false;
}

/** Too much of an answer is one. */
function isTooMuch({ code }: UpstreamError): boolean {
  return code === 'UPSTREAM_RESPONSE_TOO_LARGE';
}
