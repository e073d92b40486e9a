/**
 * A client's session with a tool server that ends exactly once, whoever ends it: the client, who then hears nothing, or
 * the server or the gateway, and then the client is told. What is asked afterwards is not sent.
 */

import type { JsonObject } from '../../core/json.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { RelayedRequest, ToolCall, UpstreamAnswer } from '../upstream-call.ts';
import { sessionOver } from '../upstream-error.ts';
import type { ToolSource, UpstreamSession } from '../upstream-session.ts';

export class EndableSession implements UpstreamSession {
  readonly hello: ServerHello;
  readonly #inner: UpstreamSession;
  readonly #onLost: (reason: string) => void;
  readonly #onEnd: () => void;
  #inFlight = 0;
  #ending: Promise<void> | undefined;
  #retiredBecause: string | undefined;

  /** `onEnd` is called when it has ended, whoever ended it, and nothing of it is left. */
  constructor(inner: UpstreamSession, onLost: (reason: string) => void, onEnd: () => void) {
    this.hello = inner.hello;
    this.#inner = inner;
    this.#onLost = onLost;
    this.#onEnd = onEnd;
  }

  get tools(): ToolSource | undefined {
    return this.#inner.tools;
  }

  callTool(call: ToolCall): Promise<UpstreamAnswer> {
    return this.#counted(() => this.#inner.callTool(call));
  }

  relay(request: RelayedRequest): Promise<UpstreamAnswer> {
    return this.#counted(() => this.#inner.relay(request));
  }

  notify(method: string, params: JsonObject): void {
    if (this.#ending === undefined) this.#inner.notify(method, params);
  }

  async close(): Promise<void> {
    await this.#end();
  }

  /** Nothing new is sent; it is lost when nothing is in flight any more. */
  retire(reason: string): void {
    this.#retiredBecause = reason;
    this.#loseIfIdle();
  }

  async lose(reason: string): Promise<void> {
    if (this.#ending === undefined) this.#onLost(reason);
    await this.#end();
  }

  async #counted(ask: () => Promise<UpstreamAnswer>): Promise<UpstreamAnswer> {
    if (this.#ending !== undefined || this.#retiredBecause !== undefined) throw sessionOver();
    this.#inFlight++;
    try {
      return await ask();
    } finally {
      this.#inFlight--;
      this.#loseIfIdle();
    }
  }

  #loseIfIdle(): void {
    if (this.#retiredBecause !== undefined && this.#inFlight === 0) void this.lose(this.#retiredBecause);
  }

  #end(): Promise<void> {
    this.#ending ??= this.#inner.close().finally(this.#onEnd);
    return this.#ending;
  }
}
