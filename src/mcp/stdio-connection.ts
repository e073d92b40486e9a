/**
 * One tool server over stdio. The process is started by the first request and again by the next request after a crash,
 * not before its back-off has passed. Requests run concurrently and are matched by id; a request that was written when
 * the process died may have been carried out.
 */
import type { JsonObject } from '../core/json.ts';
import { isJsonObject } from '../core/json.ts';
import { Backoff } from './backoff.ts';
import type { Connection, ConnectionOptions, RpcRequest } from './connection.ts';
import { Deadline } from './deadline.ts';
import { type Era, encodeForEra, helloOf, initializeParams, sessionVersions, statelessVersion } from './era.ts';
import { helloFrom, onlyTools, type ServerHello } from './hello.ts';
import {
  answerOf,
  encodeNotification,
  isRequest,
  isResponse,
  MessageFault,
  type RpcAnswer,
  readMessage,
  replyTo,
} from './json-rpc.ts';
import { SingleFlight } from './single-flight.ts';
import { StdioProcess } from './stdio-process.ts';
import { UpstreamError, undispatched } from './upstream-error.ts';
import { type FilledTexts, texts } from './upstream-secrets.ts';

interface Pending {
  readonly settle: (answer: RpcAnswer) => void;
  readonly fail: (error: UpstreamError) => void;
  readonly onNotification: RpcRequest['onNotification'];
}

/** One life of the process. */
interface Run {
  readonly process: StdioProcess;
  readonly startedAtMs: number;
  readonly pending: Map<number, Pending>;
  era: Era;
  state: 'starting' | 'ready' | 'over';
}

/** The session era, as far as it is known before the server has said anything. */
const sessionEra = {
  kind: 'session',
  protocolVersion: sessionVersions[0] as string,
  sessionId: undefined,
  hello: onlyTools,
} as const satisfies Era;
const statelessEra: Era = { kind: 'stateless', protocolVersion: statelessVersion, hello: onlyTools };
const unsupportedVersion = -32_022;

export class StdioConnection implements Connection {
  readonly #options: ConnectionOptions;
  readonly #backoff: Backoff;
  readonly #environment: FilledTexts;
  readonly #starting = new SingleFlight<Run>();
  #run: Run | undefined;
  #closed = false;
  #lastId = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { clock, bounds, spec, secretOf } = options;
    // A variable can hold anything but the NUL that ends it.
    this.#environment = texts(spec.env ?? {}, secretOf, (value) => !value.includes('\0'));
    this.#backoff = new Backoff({
      clock,
      minMs: bounds.stdioRestartBackoffMinMs,
      maxMs: bounds.stdioRestartBackoffMaxMs,
    });
  }

  async request(request: RpcRequest): Promise<RpcAnswer> {
    const run = this.#run?.state === 'ready' ? this.#run : await this.#started(request.deadline);
    return this.#ask(run, request);
  }

  async hello(deadline: Deadline): Promise<ServerHello> {
    const run = this.#run?.state === 'ready' ? this.#run : await this.#started(deadline);
    return helloOf(run.era);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#run?.process.stop();
  }

  async #started(deadline: Deadline): Promise<Run> {
    try {
      return await deadline.wait(this.#starting.run(() => this.#start()));
    } catch (error) {
      throw undispatched(error);
    }
  }

  async #start(): Promise<Run> {
    if (this.#closed) throw unavailable('the gateway is closing');
    const waitMs = Math.ceil(this.#backoff.waitMs);
    if (waitMs > 0) throw unavailable(`the process ended; it may start again in ${waitMs} ms`);
    const env = await this.#environment(new Deadline(this.#options.clock, this.#options.bounds.stdioStartTimeoutMs));
    if (this.#closed) throw unavailable('the gateway is closing');
    const run = this.#spawn(env);
    this.#run = run;
    try {
      await this.#handshake(run);
    } catch (error) {
      // The next start must not wait for a process that is slow to leave.
      run.process.kill();
      throw error;
    }
    run.state = 'ready';
    return run;
  }

  #spawn(env: Readonly<Record<string, string>>): Run {
    const startedAtMs = this.#options.clock.monotonic();
    try {
      const process = new StdioProcess(
        { ...this.#options, spec: { ...this.#options.spec, env } },
        {
          isStarting: () => run.state === 'starting',
          onLine: (line) => this.#onLine(run, line),
          onLineTooLong: () => this.#onLineTooLong(run),
          onExit: (reason) => this.#onExit(run, reason),
        },
      );
      const run: Run = { process, startedAtMs, pending: new Map(), era: sessionEra, state: 'starting' };
      return run;
    } catch (error) {
      this.#backoff.failed(0);
      throw unavailable('it cannot be started', error);
    }
  }

  /** `initialize` first: servers exist that end when anything else opens the conversation. */
  async #handshake(run: Run): Promise<void> {
    const deadline = new Deadline(this.#options.clock, this.#options.bounds.stdioStartTimeoutMs);
    const answer = await this.#ask(run, { method: 'initialize', params: initializeParams, deadline });
    if (answer.kind === 'error') {
      run.era = eraAfterRefusal(answer);
      return;
    }
    const version = answer.result['protocolVersion'];
    if (typeof version !== 'string' || !sessionVersions.includes(version))
      throw invalid('it chose a protocol version that was not offered');
    run.era = { ...sessionEra, protocolVersion: version, hello: helloFrom(answer.result) };
    run.process.write(encodeNotification('notifications/initialized'));
  }

  #ask(run: Run, request: RpcRequest): Promise<RpcAnswer> {
    if (run.state === 'over') return Promise.reject(unavailable('the process has ended'));
    const id = ++this.#lastId;
    const message = encodeForEra(run.era, id, request.method, request.params);
    if (!run.process.write(message)) return Promise.reject(new UpstreamError('UPSTREAM_BUSY', { dispatched: false }));
    return new Promise((resolve, reject) => {
      const unwatch = request.deadline.watch((end) =>
        this.#giveUp(run, id, request.method, new UpstreamError(end, { dispatched: true })),
      );
      run.pending.set(id, {
        settle: (answer) => resolve(settled(run, id, unwatch, answer)),
        fail: (error) => reject(settled(run, id, unwatch, error)),
        onNotification: request.onNotification,
      });
    });
  }

  #giveUp(run: Run, id: number, method: string, error: UpstreamError): void {
    run.pending.get(id)?.fail(error);
    // The handshake cannot be cancelled (MCP 2025-11-25, Cancellation).
    if (method === 'initialize') return;
    run.process.write(
      encodeNotification('notifications/cancelled', { requestId: id, reason: 'the caller no longer waits' }),
    );
  }

  #onLine(run: Run, line: Buffer): void {
    if (line.length === 0) return;
    try {
      this.#onMessage(run, readMessage(line, this.#options.bounds.upstreamResponseDepthMax), line);
    } catch (error) {
      if (!(error instanceof MessageFault)) throw error;
      this.#options.log.debug(
        { server: this.#options.spec.id, reason: error.message },
        'a tool server wrote a line that is no message',
      );
    }
  }

  #onMessage(run: Run, message: JsonObject, line: Buffer): void {
    if (isRequest(message)) {
      run.process.write(replyTo(message));
    } else if (isResponse(message)) {
      this.#onResponse(run, message, line);
    } else {
      this.#onNotification(run, message);
    }
  }

  /** Late answers, answers to nobody and second answers are nobody's. */
  #onResponse(run: Run, message: JsonObject, line: Buffer): void {
    const id = message['id'];
    const pending = typeof id === 'number' ? run.pending.get(id) : undefined;
    if (pending === undefined) throw new MessageFault('a response to no open request');
    try {
      pending.settle(answerOf(message, line, id as number, 'strict'));
    } catch (error) {
      pending.fail(invalid(error instanceof Error ? error.message : 'unreadable'));
    }
  }

  #onNotification(run: Run, message: JsonObject): void {
    const { method, params } = { method: message['method'], params: message['params'] };
    if (typeof method !== 'string') throw new MessageFault('neither request, response nor notification');
    if (method === 'notifications/tools/list_changed') this.#options.onToolsChanged();
    // Nothing says whose call it belongs to; with one call in flight it is that one's.
    const [only, second] = run.pending.values();
    if (second === undefined) only?.onNotification?.(method, isJsonObject(params) ? params : {});
  }

  /** No telling whose answer it is, and the rest of it is still coming: all of them fail, and the process starts anew. */
  #onLineTooLong(run: Run): void {
    failAll(run, () => new UpstreamError('UPSTREAM_RESPONSE_TOO_LARGE', { dispatched: true }));
    run.process.kill();
  }

  #onExit(run: Run, reason: string): void {
    run.state = 'over';
    if (this.#run === run) this.#run = undefined;
    failAll(run, () => new UpstreamError('UPSTREAM_UNAVAILABLE', { dispatched: true, inside: reason }));
    if (this.#closed) return;
    const { clock, log, spec } = this.#options;
    this.#backoff.failed(clock.monotonic() - run.startedAtMs);
    log.warn(
      { server: spec.id, reason, retryInMs: Math.ceil(this.#backoff.waitMs) },
      'the process of a tool server ended',
    );
  }
}

function settled<T>(run: Run, id: number, unwatch: () => void, outcome: T): T {
  run.pending.delete(id);
  unwatch();
  return outcome;
}

function failAll(run: Run, error: () => UpstreamError): void {
  for (const pending of [...run.pending.values()]) pending.fail(error());
}

/** A server of the stateless era refuses `initialize` and names what it speaks. */
function eraAfterRefusal({ error }: Extract<RpcAnswer, { kind: 'error' }>): Era {
  const supported = isJsonObject(error.data) ? error.data['supported'] : undefined;
  if (error.code === unsupportedVersion && Array.isArray(supported) && supported.includes(statelessVersion))
    return statelessEra;
  throw invalid(`it refused to initialize (JSON-RPC error ${error.code})`);
}

function unavailable(inside: string, cause?: unknown): UpstreamError {
  return new UpstreamError('UPSTREAM_UNAVAILABLE', {
    dispatched: false,
    inside,
    ...(cause !== undefined && { cause }),
  });
}

function invalid(inside: string): UpstreamError {
  return new UpstreamError('UPSTREAM_INVALID_RESPONSE', { dispatched: true, inside });
}
