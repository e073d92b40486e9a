/** What benchmarks ask for: tool calls, through the gateway and past it, and events, one by one and in batches. */
import { bounds } from '../../src/config/bounds.ts';
import { capability } from './gateway.ts';
import { getRequest, postRequest, type Target } from './http-load.ts';
import { sampleEvent } from './sample-events.ts';

const host = '127.0.0.1';
/** How many events a batch holds. */
export const batchEvents = bounds.batchEventsMax;
const bodiesInTurn = 16;
const input = { city: 'Lisbon', days: 3 };

/** To the tool server itself, or to a proxy in front of it. */
export function upstreamTarget(port: number): Target {
  const params = { name: 'get_forecast', arguments: input };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
  return { host, port, requests: [postRequest({ host, path: '/mcp', headers, body })], success: ['"result"'] };
}

export type ClientEra = 'session' | 'stateless';

const idPlaceholder = '1000000000';

export interface NativeAddress {
  readonly port: number;
  readonly path: string;
  readonly authorization?: string;
  readonly sessionId?: string | undefined;
}

/** A call over MCP, every one with an id of its own. An answer that is a JSON-RPC error is no success. */
export function nativeCallTarget(address: NativeAddress, tool: string, era: ClientEra): Target {
  const params = { name: tool, arguments: input };
  return nativeTarget(address, 'tools/call', params, era, ['"result"', '24 degrees']);
}

/** A list of tools over MCP that holds these names. */
export function nativeListTarget(address: NativeAddress, names: readonly string[]): Target {
  return nativeTarget(address, 'tools/list', {}, 'stateless', ['"result"', ...names.map((name) => `"${name}"`)]);
}

function nativeTarget(
  address: NativeAddress,
  method: string,
  params: object,
  era: ClientEra,
  success: readonly string[],
): Target {
  const { port, path, authorization, sessionId } = address;
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  const message = { jsonrpc: '2.0', id: Number(idPlaceholder), method };
  const body = JSON.stringify({ ...message, params: era === 'session' ? params : { ...params, _meta } });
  const headers = {
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    ...(authorization === undefined ? {} : { authorization }),
    ...(era === 'session'
      ? { 'mcp-protocol-version': '2025-11-25', ...(sessionId === undefined ? {} : { 'mcp-session-id': sessionId }) }
      : { 'mcp-protocol-version': '2026-07-28', 'mcp-method': method, ...nameHeader(params) }),
  };
  return { host, port, requests: [postRequest({ host, path, headers, body })], success, idPlaceholder };
}

function nameHeader(params: object): Record<string, string> {
  return 'name' in params ? { 'mcp-name': String(params.name) } : {};
}

/** Begins a session, and tells the address within it; servers that keep none give no id. */
export async function openNativeSession(address: NativeAddress): Promise<NativeAddress> {
  const { port, path, authorization } = address;
  const send = async (message: object, sessionId?: string) => {
    const response = await fetch(`http://${host}:${port}${path}`, {
      method: 'POST',
      headers: {
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        ...(authorization === undefined ? {} : { authorization }),
        ...(sessionId === undefined ? {} : { 'mcp-session-id': sessionId }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...message }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`no session: ${response.status} ${text.slice(0, 200)}`);
    return response.headers.get('mcp-session-id') ?? undefined;
  };
  const clientInfo = { name: 'bench', version: '1' };
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
  const sessionId = await send({ id: 1, method: 'initialize', params });
  await send({ method: 'notifications/initialized' }, sessionId);
  return { ...address, sessionId };
}

/** Through a gateway, to a tool that only reads: one record. */
export function readCallTarget(port: number): Target {
  return callTarget(port, 'get_forecast');
}

/** Through a gateway, to a tool that may change something: one record before the call and one after it. */
export function unclassifiedCallTarget(port: number): Target {
  return callTarget(port, 'book_forecast');
}

function callTarget(port: number, tool: string): Target {
  const authorization = `Bearer ${capability(`tool:bench/method:${tool}`)}`;
  const headers = { authorization, 'content-type': 'application/json' };
  const path = `/v1/mcp/servers/bench/tools/${tool}:call`;
  const request = postRequest({ host, path, headers, body: JSON.stringify({ input }) });
  return { host, port, requests: [request], success: ['"output"', '"audit_ref"'] };
}

export function singleEventTarget(port: number): Target {
  return eventsTarget(port, '/api/events', 'application/json', ['"event_id"', '"seq"'], (n) =>
    JSON.stringify(sampleEvent(n)),
  );
}

export function ndjsonTarget(port: number): Target {
  const body = (n: number) =>
    batchOf(n)
      .map((event) => `${JSON.stringify(event)}\n`)
      .join('');
  return eventsTarget(port, '/api/events/batch', 'application/x-ndjson', [`"count":${batchEvents}`], body);
}

export function jsonTarget(port: number): Target {
  const body = (n: number) => JSON.stringify(batchOf(n));
  return eventsTarget(port, '/api/events/batch', 'application/json', [`"count":${batchEvents}`], body);
}

/** Receipts of these events, in turn. */
export function receiptTarget(port: number, eventIds: readonly string[]): Target {
  const headers = { authorization: `Bearer ${capability('tool:gateway/method:events.read')}` };
  const requests = eventIds.map((id) => getRequest({ host, path: `/api/events/${id}/proof`, headers }));
  return { host, port, requests, success: ['"talos.receipt/v1"', '"proof"'] };
}

function batchOf(n: number): object[] {
  return Array.from({ length: batchEvents }, (_, at) => sampleEvent(n * batchEvents + at));
}

function eventsTarget(
  port: number,
  path: string,
  contentType: string,
  success: readonly string[],
  bodyOf: (n: number) => string,
): Target {
  const authorization = `Bearer ${capability('tool:gateway/method:events.write')}`;
  const headers = { authorization, 'content-type': contentType };
  const requests = Array.from({ length: bodiesInTurn }, (_, n) =>
    postRequest({ host, path, headers, body: bodyOf(n) }),
  );
  return { host, port, requests, success };
}
