/**
 * The HTTP server: bounds, ids, headers, errors and the life of a request. Which routes it serves is said by `app.ts`;
 * what they do is in `routes/`.
 */
import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import cors from '@fastify/cors';
import Fastify, { type FastifyReply, type FastifyRequest, type FastifyServerOptions } from 'fastify';
import { bounds } from '../config/bounds.ts';
import { errorTable, TalosError } from '../core/errors.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { replayBodies } from './attested-body.ts';
import { addBodyParsers } from './body.ts';
import { createClientErrorHandler } from './client-error.ts';
import { answerError } from './errors.ts';
import type { App } from './fastify.ts';
import { acceptForwarded, type ReadVoucher } from './forward.ts';
import { createOriginAllowed } from './origin.ts';
import type { ProtectedResource } from './protected-resource.ts';
import { rateHeaderNames } from './rate-headers.ts';
import { securityHeaders } from './security-headers.ts';
import { endpointOf, guardSurfaces, notFound } from './surfaces.ts';
import { compileValidator } from './validator.ts';
import { isWebSocketUpgrade } from './ws.ts';

export interface ServerOptions {
  readonly telemetry: Telemetry;
  readonly region: string;
  readonly development: boolean;
  readonly corsOrigins: readonly string[];
  /** Addresses and networks whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[];
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  readonly isShuttingDown: () => boolean;
  /** Whom clients ask for a token. */
  readonly protectedResource?: ProtectedResource;
  /** Undefined where no gateway passes requests on. */
  readonly readVoucher?: ReadVoucher;
  /** Sees whatever is thrown, and gives what is answered. */
  readonly failureOf: (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;
}

/** An application without routes. It listens when its caller says so. */
export async function createServer(options: ServerOptions): Promise<App> {
  const app = Fastify(fastifyOptions(options)) as unknown as App;
  app.setValidatorCompiler(compileValidator);
  app.decorate('protectedResource', options.protectedResource ?? { issuer: undefined, publicUrl: undefined });
  app.decorateRequest('caller', undefined);
  app.decorateRequest('isStreaming', false);
  app.decorateRequest('failure', undefined);
  app.decorateRequest('voucher', undefined);
  app.decorateRequest('isPassedOn', false);
  addBodyParsers(app);
  replayBodies(app);
  addLifecycle(app, options);
  guardSurfaces(app);
  await app.register(cors, corsOptions(options));
  app.setErrorHandler(async (error, request, reply) => {
    answerError(await options.failureOf(error, request, reply), request, reply, options.telemetry);
    return reply;
  });
  app.setNotFoundHandler((request, reply) => answerError(notFound(request, reply), request, reply, options.telemetry));
  return app;
}

function fastifyOptions(options: ServerOptions): FastifyServerOptions {
  const { tls, telemetry } = options;
  const headers = securityHeaders(options);
  const serverOptions = {
    maxHeaderSize: bounds.headerBytesMax,
    headersTimeout: bounds.headersTimeoutMs,
    connectionsCheckingInterval: bounds.connectionsCheckMs,
    shouldUpgradeCallback: isWebSocketUpgrade,
  };
  return {
    logger: false,
    genReqId: (raw) => requestIdOf(raw.headers['x-request-id']),
    requestIdHeader: false,
    bodyLimit: bounds.bodyBytesMax,
    trustProxy: options.trustedProxies.length === 0 ? false : [...options.trustedProxies],
    requestTimeout: bounds.requestTimeoutMs,
    keepAliveTimeout: bounds.keepAliveTimeoutMs,
    routerOptions: { maxParamLength: bounds.pathParameterCharsMax },
    // A URL that cannot be decoded reaches no hook, so its answer gets its headers here.
    frameworkErrors: (error, request, reply) => {
      reply.headers(headers).header('x-request-id', request.id);
      answerError(error, request, reply, telemetry);
    },
    clientErrorHandler: createClientErrorHandler(headers),
    // A shutdown is announced by `isShuttingDown`, which answers what still arrives with a reason.
    return503OnClosing: false,
    ...(tls === undefined ? { http: serverOptions } : { https: { ...tls, ...serverOptions } }),
  } as FastifyServerOptions;
}

const requestIdPattern = /^[\x21-\x7e]+$/;

/** The caller's id for the request when it is one that a record can hold, else a new one. */
function requestIdOf(header: string | string[] | undefined): string {
  const isUsable =
    typeof header === 'string' && header.length <= bounds.requestIdCharsMax && requestIdPattern.test(header);
  return isUsable ? header : randomUUID();
}

function addLifecycle(app: App, options: ServerOptions): void {
  const { telemetry, isShuttingDown } = options;
  const headers = securityHeaders(options);
  const count = (request: FastifyRequest, reply: FastifyReply, status: number) => {
    const { method } = request;
    telemetry.requestAnswered({ method, endpoint: endpointOf(request), status, seconds: reply.elapsedTime / 1000 });
  };
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(headers).header('x-request-id', request.id);
    // Nobody is there to be answered, so the hook below never comes.
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished && !request.isStreaming) count(request, reply, errorTable.CALL_CANCELLED.status);
    });
    acceptForwarded(request, options.readVoucher);
    const isJudged = request.voucher !== undefined;
    if (options.development && !isJudged && isPublicName(request.hostname)) throw new TalosError('MISDIRECTED_REQUEST');
    if (isShuttingDown()) refuseDuringShutdown(request, reply);
  });
  // After the credential was judged: what a path names is not told to strangers.
  app.addHook('preValidation', async (request) => {
    if (namesNothing(request.params)) throw new TalosError('NOT_FOUND');
  });
  app.addHook('onResponse', async (request, reply) => {
    if (!request.isStreaming) count(request, reply, reply.statusCode);
  });
}

/** No name has NUL in it, which no column of the store holds. */
function namesNothing(params: unknown): boolean {
  return Object.values(params ?? {}).some((value) => typeof value === 'string' && value.includes('\0'));
}

/**
 * Development mode lets callers in without a credential, so a page of any site whose name is made to point here (DNS
 * rebinding) could call tools. Such a name has a dot and a letter at its end; addresses and local names have not.
 */
function isPublicName(hostname: string): boolean {
  return /\.[a-z][a-z0-9-]*\.?$/i.test(hostname) && !/\.localhost\.?$/i.test(hostname);
}

function refuseDuringShutdown(request: FastifyRequest, reply: FastifyReply): void {
  // The connection must not be used again, or the listener would never close.
  reply.header('connection', 'close');
  if (request.routeOptions.config.answersDuringShutdown !== true) throw new TalosError('SERVER_SHUTTING_DOWN');
}

const exposedHeaders = [
  'X-Request-Id',
  'X-Talos-Audit-Ref',
  'Retry-After',
  'WWW-Authenticate',
  'X-Talos-Session',
  'Idempotent-Replayed',
  'Preference-Applied',
  'Mcp-Session-Id',
] as const;

function corsOptions(options: ServerOptions) {
  const isAllowed = createOriginAllowed(options);
  return {
    origin: (origin: string | undefined, answer: (error: null, allowed: boolean) => void) => {
      answer(null, origin !== undefined && isAllowed(origin));
    },
    credentials: true,
    // What is no complete preflight gets no answer of its own shape.
    strictPreflight: false,
    methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: [...exposedHeaders, ...rateHeaderNames],
    maxAge: 600,
  };
}

/** Starts to listen. Throws one sentence that says what stands in the way. */
export async function listen(app: App, at: { readonly port: number; readonly host: string }): Promise<void> {
  try {
    await app.listen(at);
  } catch (error) {
    const sentence = listenProblems[(error as NodeJS.ErrnoException).code ?? '']?.(at);
    throw sentence === undefined ? error : new Error(sentence);
  }
}

const listenProblems: Readonly<Record<string, (at: { readonly port: number; readonly host: string }) => string>> = {
  EADDRINUSE: ({ port, host }) =>
    `port ${port} of ${host} is taken: stop what listens there, or set TALOS_GATEWAY_PORT`,
  EACCES: ({ port }) => `port ${port} may not be opened by this user: set TALOS_GATEWAY_PORT to 1024 or above`,
  EADDRNOTAVAIL: ({ host }) => `${host} is not an address of this machine: set TALOS_BIND_HOST`,
  ENOTFOUND: ({ host }) => `${host} is not a name that this machine can resolve: set TALOS_BIND_HOST`,
};

/** Where the server listens, as a URL. */
export function serverUrl(server: Server, secure: boolean): string {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server does not listen on a port.');
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `${secure ? 'https' : 'http'}://${host}:${address.port}`;
}
