/**
 * Requests for MCP sessions of other gateways: where they come in they are passed on before anybody looks at the credential,
 * so that what can be used once is used where it counts; where they arrive they count as their client's.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { TalosError } from '../core/errors.ts';
import type { VouchedRequest, Voucher } from '../core/gateway-key.ts';
import { type ForwardSession, type GatewayAnswer, voucherHeader } from '../gateway/native/sessions/forward-session.ts';
import { clientGone } from './caller.ts';
import { namedBase } from './protected-resource.ts';
import { takeOver } from './take-over.ts';

/** What a gateway of the same database says of the client of this request; undefined when it did not sign that. */
export type ReadVoucher = (header: string, request: VouchedRequest) => Voucher | undefined;

/**
 * To be called for every request before anybody asks where it comes from. Throws `INVALID_REQUEST` for a voucher that does
 * not hold: a request that has one is passed on no further, so it must not be mistaken for a client's.
 */
export function acceptForwarded(request: FastifyRequest, readVoucher: ReadVoucher = () => undefined): void {
  const header = request.headers[voucherHeader];
  if (header === undefined) return;
  request.voucher = readVoucher(String(header), vouchedRequest(request, sessionIdOf(request) ?? ''));
  if (request.voucher === undefined) {
    throw new TalosError('INVALID_REQUEST', {
      message: `No gateway of this database has signed ${voucherHeader} just now.`,
    });
  }
}

/** A hook for routes of MCP sessions, in front of `authenticated`. What it does not pass on is for this gateway to answer. */
export function forwardForeign(forwardSession: ForwardSession) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const sessionId = sessionIdOf(request);
    if (sessionId === undefined || request.voucher !== undefined) return undefined;
    const answer = await forwardSession(sessionId, () => ({
      ...vouchedRequest(request, sessionId),
      headers: headersToPass(request),
      body: request.method === 'POST' ? bodyOf(request) : undefined,
      address: request.ip,
      base: namedBase(request),
      signal: clientGone(reply),
    }));
    if (answer === undefined) return undefined;
    passBack(answer, request, reply);
    return reply;
  };
}

/** What is left of it when nobody takes it is for this gateway to read. */
function bodyOf({ raw }: FastifyRequest): Readable {
  const body = Readable.from(raw.iterator({ destroyOnReturn: false }));
  // Whoever sends it is told.
  return body.on('error', () => undefined);
}

/** Streamable HTTP has the id in a header, the transport before it in the query. */
function sessionIdOf({ headers, query }: FastifyRequest): string | undefined {
  const { 'mcp-session-id': inHeader } = headers;
  const { session_id: inQuery } = query as { session_id?: unknown };
  if (typeof inHeader === 'string') return inHeader;
  return typeof inQuery === 'string' ? inQuery : undefined;
}

function vouchedRequest({ method, raw }: FastifyRequest, sessionId: string) {
  return { method: method as 'GET' | 'POST' | 'DELETE', target: raw.url ?? '', sessionId };
}

/** What belongs to one connection, and what says where a request comes from. */
const notToPass: ReadonlySet<string> = new Set([
  'connection',
  'expect',
  'forwarded',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-real-ip',
  'x-request-id',
]);

function headersToPass({ raw, headers, id }: FastifyRequest): string[] {
  const named = (headers.connection ?? '').toLowerCase().split(/\s*,\s*/);
  const passed = ['x-request-id', id];
  for (let at = 0; at < raw.rawHeaders.length; at += 2) {
    const [name = '', value = ''] = raw.rawHeaders.slice(at, at + 2);
    const lower = name.toLowerCase();
    if (notToPass.has(lower) || named.includes(lower) || lower.startsWith('x-forwarded-')) continue;
    passed.push(name, value);
  }
  return passed;
}

/** What this gateway does not say itself: not of the connection, of other origins, nor of security. */
const passedBack =
  /^(?:allow|cache-control|content-encoding|content-length|content-type|idempotent-replayed|mcp-.*|ratelimit.*|retry-after|www-authenticate|x-accel-buffering|x-ratelimit-.*|x-talos-.*)$/;

/** From here on it is a stream; when either side leaves, the other one is told. */
function passBack({ status, headers, body }: GatewayAnswer, request: FastifyRequest, reply: FastifyReply): void {
  request.isPassedOn = true;
  request.isStreaming = String(headers['content-type']).startsWith('text/event-stream');
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && passedBack.test(name) && name !== 'x-talos-region') reply.header(name, value);
  }
  const raw = takeOver(reply);
  raw.writeHead(status);
  // A stream on which nothing happens yet is open all the same.
  raw.flushHeaders();
  pipeline(body, raw).catch(() => undefined);
}
