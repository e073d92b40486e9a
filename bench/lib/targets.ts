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
