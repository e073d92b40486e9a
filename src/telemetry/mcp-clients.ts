/** Sessions of MCP clients, and what tool servers ask of them. */
import { Counter, Gauge, type Registry } from 'prom-client';

export interface McpClientTelemetry {
  /** How many sessions are open now. */
  readonly mcpSessions: (open: number) => void;
  /** The same, as it was told last. */
  readonly openMcpSessions: () => number;
  /** `reason`: a fixed word, such as `client_ended` or `idle`. */
  readonly mcpSessionEnded: (reason: string) => void;
  /** How many clients of the stateless era listen now. */
  readonly mcpListening: (open: number) => void;
  /** How many calls without a session have one of their own at servers that can ask. */
  readonly mcpOpenCalls: (open: number) => void;
  /** What became of a request of a server: a fixed word, such as `answered` or `denied`. */
  readonly serverRequest: (outcome: string) => void;
  /** What became of a request for a session of another gateway. */
  readonly mcpPassedOn: (outcome: 'answered' | 'gateway_gone' | 'failed') => void;
  /** A client did not read what it was sent. */
  readonly mcpStreamCut: () => void;
}

export function createMcpClientTelemetry(registry: Registry): McpClientTelemetry {
  const registers = [registry];
  const sessions = new Gauge({ name: 'gateway_mcp_sessions', help: 'Open sessions of MCP clients.', registers });
  const listening = new Gauge({
    name: 'gateway_mcp_listening',
    help: 'Clients that listen without a session (subscriptions/listen).',
    registers,
  });
  const openCalls = new Gauge({
    name: 'gateway_mcp_open_calls',
    help: 'Calls of clients without a session at servers that can ask them.',
    registers,
  });
  const ended = new Counter({
    name: 'gateway_mcp_sessions_ended_total',
    help: 'Sessions of MCP clients that ended, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  const requests = new Counter({
    name: 'gateway_mcp_server_requests_total',
    help: 'What tool servers asked of clients, by what became of it.',
    labelNames: ['outcome'] as const,
    registers,
  });
  const cut = new Counter({
    name: 'gateway_mcp_streams_cut_total',
    help: 'Streams to MCP clients that were cut because they were not read.',
    registers,
  });
  const passedOn = new Counter({
    name: 'gateway_mcp_passed_on_total',
    help: 'Requests for MCP sessions of other gateways, by what became of them.',
    labelNames: ['outcome'] as const,
    registers,
  });
  let open = 0;
  return {
    mcpSessions(count) {
      open = count;
      sessions.set(count);
    },
    openMcpSessions: () => open,
    mcpSessionEnded: (reason) => ended.inc({ reason }),
    mcpListening: (open) => listening.set(open),
    mcpOpenCalls: (open) => openCalls.set(open),
    serverRequest: (outcome) => requests.inc({ outcome }),
    mcpPassedOn: (outcome) => passedOn.inc({ outcome }),
    mcpStreamCut: () => cut.inc(),
  };
}
