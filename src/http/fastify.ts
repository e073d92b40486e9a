/** The types that all routes share: what a route declares of itself, and what a request carries once it is known. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { TalosError } from '../core/errors.ts';
import type { Voucher } from '../core/gateway-key.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { Caller } from '../gateway/caller.ts';
import type { ProtectedResource } from './protected-resource.ts';

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** Which key of an error body the clients of an inherited route read; new routes answer the shared envelope alone. */
export type LegacyErrorKey = 'detail' | 'error';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route's entry in the surface table. A route without one stops the start. */
    surface?: SurfaceId;
    legacyErrorKey?: LegacyErrorKey;
    /** A body that cannot be read is answered as its clients expect. */
    speaksJsonRpc?: true;
    /** Answered also while the gateway shuts down. */
    answersDuringShutdown?: boolean;
  }
  interface FastifyInstance {
    protectedResource: ProtectedResource;
  }
  interface FastifyRequest {
    /** Set by `authenticated` before the body is read. */
    caller: Caller | undefined;
    /** A stream has begun: the request was counted as answered then, however long the stream lasts. */
    isStreaming: boolean;
    /** What another gateway, which passed the request on, says of its client. */
    voucher: Voucher | undefined;
    /** It is another gateway that answers, counts and records. */
    isPassedOn: boolean;
    /** The error that the request was answered with. */
    failure: TalosError | undefined;
  }
}
