/** Which web pages may call the gateway: an explicit list of origins, and in development mode those of this machine. */
import type { FastifyRequest } from 'fastify';
import { TalosError } from '../core/errors.ts';

export interface OriginOptions {
  readonly corsOrigins: readonly string[];
  readonly development: boolean;
}

export type OriginAllowed = (origin: string) => boolean;

const localhost = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/;

export function createOriginAllowed({ corsOrigins, development }: OriginOptions): OriginAllowed {
  const listed = new Set(corsOrigins);
  return (origin) => listed.has(origin) || (development && localhost.test(origin));
}

/**
 * A hook for routes that a browser lets any page reach with what it knows of its user: only the gateway's own pages and
 * those of allowed origins get through. What is no browser sends no origin.
 */
export function onlyAllowedOrigins(originAllowed: OriginAllowed) {
  return async (request: FastifyRequest): Promise<void> => {
    // Where the client came in, that was judged.
    if (request.voucher !== undefined) return;
    const { origin } = request.headers;
    const isOwn = origin === `${request.protocol}://${request.host}`;
    if (origin !== undefined && !isOwn && !originAllowed(origin)) throw new TalosError('ORIGIN_NOT_ALLOWED');
  };
}
