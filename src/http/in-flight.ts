/**
 * Counts what is going on, so that a shutdown can wait for exactly that: requests until they are answered or given up,
 * and handlers until they are through, which may be after their client has left.
 */
import type { FastifyRequest, RouteHandlerMethod, RouteOptions } from 'fastify';
import type { App } from './fastify.ts';

export class InFlight {
  #count = 0;
  #whenNone: (() => void) | undefined;

  /** Counts the requests of `app` that pass `counts`. To be called before routes are registered. */
  track(app: App, counts: (request: FastifyRequest) => boolean): void {
    app.addHook('onRequest', async (request, reply) => {
      if (!counts(request)) return;
      this.#count++;
      // Unlike the response hook, `close` also comes when the client has gone.
      reply.raw.once('close', this.#ended);
    });
    app.addHook('onRoute', (route: RouteOptions) => {
      route.handler = this.#counted(route.handler);
    });
  }

  #counted(handler: RouteHandlerMethod): RouteHandlerMethod {
    const begin = (work: unknown) => {
      if (!(work instanceof Promise)) return;
      this.#count++;
      work.then(this.#ended, this.#ended);
    };
    return function (this: ThisParameterType<RouteHandlerMethod>, request, reply) {
      const work = handler.call(this, request, reply);
      begin(work);
      return work;
    };
  }

  readonly #ended = (): void => {
    this.#count--;
    if (this.#count === 0) this.#whenNone?.();
  };

  /** Resolves with true when nothing is in flight, or with false after `timeoutMs`. */
  async drained(timeoutMs: number): Promise<boolean> {
    if (this.#count === 0) return true;
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#whenNone = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}
