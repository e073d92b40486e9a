/** The tool call that benchmarks make: through the gateway, and as its tool server would get it from anybody else. */
import { capability } from './gateway.ts';
import { postRequest, type Target } from './http-load.ts';

const host = '127.0.0.1';
const input = { city: 'Lisbon', days: 3 };

/** To the tool server itself, or to a proxy in front of it. */
export function upstreamTarget(port: number): Target {
  const params = { name: 'get_forecast', arguments: input };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
  return { host, port, requests: [postRequest({ host, path: '/mcp', headers, body })], success: ['"result"'] };
}

/** To a gateway, with a capability for exactly this tool. */
export function callTarget(port: number): Target {
  const authorization = `Bearer ${capability('tool:bench/method:get_forecast')}`;
  const headers = { authorization, 'content-type': 'application/json' };
  const path = '/v1/mcp/servers/bench/tools/get_forecast:call';
  const request = postRequest({ host, path, headers, body: JSON.stringify({ input }) });
  return { host, port, requests: [request], success: ['"output"', '"audit_ref"'] };
}
