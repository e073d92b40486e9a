/**
 * How often an address and a caller may come. The address is counted before anybody looks at the credential, the caller
 * as soon as he is known and before his body is read. Where limits are shared, this process alone counts the address
 * first, so that a flood of credentials costs nobody else anything, and one round trip then counts both for all
 * gateways; whoever is turned away before that is counted by address.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import type { Rate } from '../core/gcra.ts';
import { type Charge, RateLimited, rateLimited, type TakeCharges, type Verdict } from '../core/limit.ts';
import { type SurfaceId, surfaceOf } from '../core/surfaces.ts';
import type { Caller } from '../gateway/caller.ts';
import { clientAddressOf, clientNetwork } from './client-network.ts';
import type { App } from './fastify.ts';
import { rateHeaders } from './rate-headers.ts';

export interface RequestRates {
  readonly ip: Rate;
  readonly key: Rate;
  /** In place of `key` on these routes, which are counted by themselves. */
  readonly routes: ReadonlyMap<string, Rate>;
}

export interface RequestLimitsOptions {
  /** Undefined where requests are not limited. */
  readonly rates: RequestRates | undefined;
  readonly take: TakeCharges;
  /** Counts in this process alone; undefined when `take` does. */
  readonly takeHere: ((charges: readonly Charge[]) => Verdict) | undefined;
  readonly clock: Clock;
}

/** Counts one message of the caller. Throws `RATE_LIMITED` or `RATE_LIMITER_UNAVAILABLE`. */
export type CountMessage = (caller: Caller) => Promise<void>;

export interface RequestLimits {
  /** To be called before routes are registered. */
  readonly guard: (app: App) => void;
  /** For messages on the connection of `request` of which each does what a request to the surface does. */
  readonly messagesAs: (surfaceId: SurfaceId, request: FastifyRequest) => CountMessage;
  /** What to answer in place of an error: a stranger who is over his limit learns that, and nothing else. */
  readonly failureOf: (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;
}

export function createRequestLimits(options: RequestLimitsOptions): RequestLimits {
  const { rates } = options;
  if (rates === undefined) {
    return {
      guard: () => undefined,
      messagesAs: () => async () => undefined,
      async failureOf(thrown, _, reply) {
        if (thrown instanceof RateLimited) tell(thrown, reply, options.clock);
        return thrown;
      },
    };
  }
  const taken = new WeakMap<FastifyRequest, Taken>();
  const isLimited = (request: FastifyRequest) => !isExempt(surfaceIn(request));

  async function take(charges: readonly Charge[], request: FastifyRequest, reply: FastifyReply): Promise<void> {
    if (charges.length === 0) return;
    const before = taken.get(request) ?? nothing;
    const verdict = await options.take(charges);
    const all = {
      charges: [...before.charges, ...charges],
      verdict: { admitted: verdict.admitted, readings: [...before.verdict.readings, ...verdict.readings] },
    };
    taken.set(request, all);
    reply.headers(rateHeaders(all.charges, all.verdict, options.clock.now()));
    if (!verdict.admitted) throw rateLimited(charges, verdict);
  }

  return {
    guard(app) {
      app.addHook('onRequest', async (request, reply) => {
        if (!isLimited(request)) return;
        const charges = [addressCharge(addressOf(request), rates)];
        if (options.takeHere === undefined) return await take(charges, request, reply);
        const verdict = options.takeHere(charges);
        if (verdict.admitted) return;
        taken.set(request, { charges, verdict });
        reply.headers(rateHeaders(charges, verdict, options.clock.now()));
        throw rateLimited(charges, verdict);
      });
      app.addHook('preParsing', async (request, reply) => {
        if (!isLimited(request)) return;
        const known = taken.has(request) ? [] : [addressCharge(addressOf(request), rates)];
        await take(
          [...known, ...callerCharges(surfaceIn(request), request.caller, addressOf(request), rates)],
          request,
          reply,
        );
      });
    },
    messagesAs(surfaceId, request) {
      const address = addressOf(request);
      return async (caller) => {
        const charges = [addressCharge(address, rates), ...callerCharges(surfaceId, caller, address, rates)];
        const verdict = await options.take(charges);
        if (!verdict.admitted) throw rateLimited(charges, verdict);
      };
    },
    async failureOf(thrown, request, reply) {
      if (thrown instanceof RateLimited) tell(thrown, reply, options.clock, taken.get(request));
      const isTurnedAway = thrown instanceof TalosError && thrown.status < 500;
      if (!isTurnedAway || taken.has(request) || !isLimited(request)) return thrown;
      try {
        await take([addressCharge(addressOf(request), rates)], request, reply);
        return thrown;
      } catch (error) {
        return error;
      }
    },
  };
}

/** What a request was counted against so far. */
interface Taken {
  readonly charges: readonly Charge[];
  readonly verdict: Verdict;
}

const nothing: Taken = { charges: [], verdict: { admitted: true, readings: [] } };

/** What a limit further in refuses is told with those that stood before it. */
function tell(refused: RateLimited, reply: FastifyReply, clock: Clock, before: Taken = nothing): void {
  // One of these refused, and has said so.
  if (!before.verdict.admitted) return;
  const readings = [...before.verdict.readings, ...refused.verdict.readings];
  const headers = rateHeaders([...before.charges, ...refused.charges], { admitted: false, readings }, clock.now());
  reply.headers(headers);
}

// Whoever watches over the gateway must get an answer when it is busiest.
function isExempt(surfaceId: SurfaceId | undefined): boolean {
  if (surfaceId === undefined) return false;
  const { template } = surfaceOf(surfaceId);
  return template.startsWith('/health') || template === '/readyz' || template === '/metrics';
}

function addressCharge(address: string, { ip }: RequestRates): Charge {
  return { kind: 'ip', who: address, rate: ip };
}

// What a proxy that is believed forwards need not be an address.
function addressOf(request: FastifyRequest): string {
  return clientNetwork(clientAddressOf(request)) ?? clientNetwork(request.socket.remoteAddress ?? '') ?? 'unknown';
}

function surfaceIn(request: FastifyRequest): SurfaceId | undefined {
  return request.routeOptions.config?.surface;
}

function callerCharges(
  surface: SurfaceId | undefined,
  caller: Caller | undefined,
  address: string,
  { key, routes }: RequestRates,
): Charge[] {
  const principal = caller?.principal;
  const id = caller?.accountId ?? (principal?.authMode === 'bearer' ? principal.id : undefined);
  const rate = surface === undefined ? undefined : routes.get(surface);
  if (rate !== undefined) return [{ kind: 'route', who: `${surface} ${id ?? address}`, rate }];
  return id === undefined ? [] : [{ kind: 'key', who: id, rate: key }];
}
