/**
 * Finds out which era a tool server over HTTP speaks: first `server/discover` (stateless), then `initialize` (session),
 * and under `auto` the old HTTP+SSE or bare JSON-RPC when the server shows that it knows neither. A failing server is never taken for an
 * old one: 5xx, 401, 403, 429 and silence are failures, not answers.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../../core/clock.ts';
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import {
  type Era,
  envelope,
  initializeParams,
  ownHello,
  sessionHeaders,
  sessionVersions,
  statelessHeaders,
  statelessVersion,
} from '../protocol/era.ts';
import { helloFrom } from '../protocol/hello.ts';
import {
  answerOf,
  encodeNotification,
  encodeRequest,
  isResponse,
  MessageFault,
  type RpcAnswer,
  readMessage,
  rpcCodes,
} from '../protocol/json-rpc.ts';
import { invalidBeforeCall } from '../upstream-error.ts';
import type { HttpClient } from './client.ts';
import type { HttpReply } from './exchange.ts';

export interface Negotiation {
  readonly client: HttpClient;
  readonly transport: 'auto' | 'http';
  readonly deadline: Deadline;
  readonly clock: Clock;
  readonly bounds: McpBounds;
  readonly nextId: () => number;
}

/** What a server made of a handshake message; `answer` is absent when that was no JSON-RPC response to it. */
interface Probe {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly answer: RpcAnswer | undefined;
}

export type SessionEra = Extract<Era, { kind: 'session' }>;

/** `sse`: the transport of 2024-11-05. Throws `UpstreamError` when the server fails or speaks no version that we do. */
export async function negotiate(negotiation: Negotiation): Promise<Era | 'sse'> {
  const stateless = await discover(negotiation);
  if (stateless !== undefined) return stateless;
  const { session, status } = await initialize(negotiation, initializeParams(ownHello));
  if (session !== undefined) return session;
  if (negotiation.transport === 'http') throw invalidBeforeCall(`the server refused to initialize (HTTP ${status})`);
  return (await isLegacy(negotiation, status)) ? 'sse' : { kind: 'bare' };
}

/** The stateless era, or undefined when the server gives no sign of knowing it. */
async function discover(negotiation: Negotiation): Promise<Era | undefined> {
  const probe = await ask(
    negotiation,
    'server/discover',
    { _meta: envelope },
    statelessHeaders('server/discover', undefined),
  );
  assertNotFailing(probe);
  if (probe.answer?.kind === 'error') return refuseOnlyNewer(probe.answer);
  const result = probe.answer?.result ?? {};
  const versions = result['supportedVersions'];
  if (!Array.isArray(versions) || !versions.includes(statelessVersion)) return undefined;
  return { kind: 'stateless', protocolVersion: statelessVersion, hello: helloFrom(result, 'stateless') };
}

function refuseOnlyNewer(answer: Extract<RpcAnswer, { kind: 'error' }>): undefined {
  if (answer.error.code !== rpcCodes.unsupportedVersion || !isJsonObject(answer.error.data)) return;
  const supported = answer.error.data['supported'];
  if (!Array.isArray(supported) || supported.length === 0) return;
  if (supported.every((version) => String(version) > statelessVersion))
    throw invalidBeforeCall('the server speaks only newer protocol versions');
}

/**
 * Opens a session; there is none when the server shows that it knows no handshake of that era. Throws `UpstreamError`
 * when it fails, and tells the server that nobody will use what it opened.
 */
export async function initialize(
  negotiation: Omit<Negotiation, 'transport'>,
  params: JsonObject,
): Promise<{ readonly session: SessionEra | undefined; readonly status: number }> {
  const probe = await ask(negotiation, 'initialize', params, []);
  assertNotFailing(probe);
  const session = sessionFrom(probe);
  if (session !== undefined) await confirm(negotiation, session);
  return { session, status: probe.status };
}

/** What servers of that transport say to a POST at the address of their stream. */
const noPost: readonly number[] = [400, 404, 405];

/** Whether a GET brings the stream of the transport of 2024-11-05 (MCP 2025-11-25, Transports, Backwards Compatibility). */
async function isLegacy({ client, deadline }: Negotiation, status: number): Promise<boolean> {
  if (!noPost.includes(status)) return false;
  const enough = new AbortController();
  let isFound = false;
  const onEvent = ({ type }: { readonly type: string }) => {
    isFound ||= type === 'endpoint';
    enough.abort();
    return undefined;
  };
  const patience = deadline.part(0.5, enough.signal);
  // Silence, a body or a stream without an endpoint is no such server.
  await client
    .send({ method: 'GET', headers: [], deadline: patience, onEvent, aside: 'streams' })
    .catch((error: unknown) => error);
  return isFound;
}

function sessionFrom({ answer, headers }: Probe): SessionEra | undefined {
  if (answer?.kind !== 'result') return undefined;
  const version = answer.result['protocolVersion'];
  if (typeof version !== 'string') return undefined;
  if (!sessionVersions.includes(version))
    throw invalidBeforeCall('the server chose a protocol version that was not offered');
  const sessionId = sessionIdFrom(headers);
  return { kind: 'session', protocolVersion: version, sessionId, hello: helloFrom(answer.result, 'session') };
}

function sessionIdFrom(headers: IncomingHttpHeaders): string | undefined {
  const sessionId = headers['mcp-session-id'];
  if (sessionId === undefined) return undefined;
  if (typeof sessionId === 'string' && /^[\x21-\x7e]{1,1024}$/.test(sessionId)) return sessionId;
  throw invalidBeforeCall('the session id is not visible ASCII');
}

async function confirm(negotiation: Omit<Negotiation, 'transport'>, session: SessionEra): Promise<void> {
  const { client, deadline } = negotiation;
  const body = encodeNotification('notifications/initialized');
  try {
    await client.send({ body, headers: sessionHeaders(session), deadline });
  } catch (error) {
    void endSession(negotiation, session);
    throw error;
  }
}

/** Tells the server that a session is over. Never fails; what it makes of that changes nothing. */
async function endSession(
  { client, clock, bounds }: Omit<Negotiation, 'transport'>,
  session: SessionEra,
): Promise<void> {
  if (session.sessionId === undefined) return;
  const deadline = new Deadline(clock, bounds.upstreamGoodbyeTimeoutMs);
  const request = { method: 'DELETE', headers: sessionHeaders(session), deadline, aside: 'messages' } as const;
  await client.send(request).catch(() => undefined);
}

async function ask(
  negotiation: Omit<Negotiation, 'transport'>,
  method: string,
  params: JsonObject,
  headers: readonly string[],
): Promise<Probe> {
  const { client, deadline } = negotiation;
  const { upstreamResponseDepthMax: depthMax } = negotiation.bounds;
  const id = negotiation.nextId();
  const onEvent = (event: { readonly data: Buffer }) => {
    const message = readMessage(event.data, depthMax);
    return isResponse(message) ? message : undefined;
  };
  const reply = await client.send({ body: encodeRequest(id, method, params), headers, deadline, onEvent });
  return probeFrom(reply, id, depthMax);
}

function probeFrom(reply: HttpReply, id: number, depthMax: number): Probe {
  if (reply.kind === 'ended') throw invalidBeforeCall('the event stream ended without an answer');
  const status = reply.kind === 'body' ? reply.status : 200;
  const answer = readable(() => {
    if (reply.kind === 'answer') return answerOf(reply.message, reply.raw, id, 'lenient');
    return answerOf(readMessage(reply.body, depthMax), reply.body, id, 'lenient');
  });
  return { status, headers: reply.headers, answer };
}

function readable(read: () => RpcAnswer): RpcAnswer | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof MessageFault) return undefined;
    throw error;
  }
}

function assertNotFailing({ status, answer }: Probe): void {
  const failing = status >= 500 || status === 401 || status === 403 || status === 429;
  const says = answer?.kind === 'error' ? answer.error.code : undefined;
  if (failing && says !== rpcCodes.methodNotFound)
    throw invalidBeforeCall(`the handshake was answered with HTTP ${status}`);
}
