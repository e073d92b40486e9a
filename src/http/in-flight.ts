/** Counts the requests that are being worked on, so that a shutdown can wait for exactly those. */
import type { FastifyRequest } from 'fastify';
import type { App } from './fastify.ts';

export class InFlight {
  readonly #requests = new Set<FastifyRequest>();
  #whenEmpty: (() => void) | undefined;

  /** Counts the requests of `app` that pass `counts`. */
  track(app: App, counts: (request: FastifyRequest) => boolean): void {
    app.addHook('onRequest', async (request) => {
      if (counts(request)) this.#requests.add(request);
    });
    app.addHook('onResponse', async (request) => this.#finished(request));
    // A client that goes away gets no response; its request still ends.
    app.addHook('onRequestAbort', async (request) => this.#finished(request));
  }

  #finished(request: FastifyRequest): void {
    this.#requests.delete(request);
    if (this.#requests.size === 0) this.#whenEmpty?.();
  }

  /** Resolves with true when nothing is in flight, or with false after `timeoutMs`. */
  async drained(timeoutMs: number): Promise<boolean> {
    if (this.#requests.size === 0) return true;
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#whenEmpty = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}
