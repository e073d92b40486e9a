/** What the gateway is and how it does: version, metrics, status. Figures of what it does not have (peers) are 0. */
import { Type } from 'typebox';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import type { App } from '../../fastify.ts';

export interface StatusDeps {
  readonly version: string;
  readonly gitSha: string;
  readonly buildTime: string;
  readonly development: boolean;
  readonly instanceId: string;
  readonly uptimeSeconds: () => number;
  readonly telemetry: Telemetry;
  readonly capabilityCache: () => { size: number; hits: number; misses: number; evictions: number };
  /** How many signed requests of the last hour were replays, as this process saw them. */
  readonly replaysLastHour: () => number;
  /** `DEGRADED` when the last attempt to write the log failed. */
  readonly state: () => 'RUNNING' | 'DEGRADED';
}

const Version = Type.Object({
  version: Type.String(),
  git_sha: Type.String(),
  build_time: Type.String(),
  service: Type.String(),
  dev_mode: Type.Boolean(),
  contracts_version: Type.String(),
  api_version: Type.String(),
});

const Summary = Type.Object({
  latency_p50_ms: Type.Number(),
  latency_p95_ms: Type.Number(),
  connected_peers: Type.Integer(),
  active_sessions: Type.Integer(),
  total_requests: Type.Integer(),
});

const Status = Type.Object({
  schema_version: Type.String(),
  gateway_instance_id: Type.String(),
  status_seq: Type.Integer(),
  state: Type.String(),
  version: Type.String(),
  uptime_seconds: Type.Integer(),
  requests_processed: Type.Integer(),
  tenants: Type.Integer(),
  cache: Type.Object({
    capability_cache_size: Type.Integer(),
    hits: Type.Integer(),
    misses: Type.Integer(),
    evictions: Type.Integer(),
  }),
  sessions: Type.Object({ active_sessions: Type.Integer(), replay_rejections_1h: Type.Integer() }),
});

export function statusRoutes(app: App, deps: StatusDeps): void {
  const tags = ['Status'];
  const { telemetry } = deps;

  app.get(
    '/version',
    { config: { surface: 'gateway.version' }, schema: { tags, summary: 'Version', response: { 200: Version } } },
    async () => ({
      version: deps.version,
      git_sha: deps.gitSha,
      build_time: deps.buildTime,
      service: 'gateway',
      dev_mode: deps.development,
      contracts_version: '1.0.0',
      api_version: '1.0.0',
    }),
  );

  app.get(
    '/metrics',
    {
      config: { surface: 'gateway.metrics' },
      schema: { tags, summary: 'Prometheus metrics', response: { 200: Type.String() } },
    },
    async (_, reply) => {
      const { contentType, text } = await telemetry.exposition();
      return reply.type(contentType).send(text);
    },
  );

  app.get(
    '/metrics/summary',
    {
      config: { surface: 'gateway.metrics.summary' },
      schema: { tags, summary: 'The figures that a terminal shows', response: { 200: Summary } },
    },
    async () => {
      const { p50Ms, p95Ms } = await telemetry.latency();
      return {
        latency_p50_ms: p50Ms,
        latency_p95_ms: p95Ms,
        connected_peers: 0,
        active_sessions: activeSessions(telemetry),
        total_requests: telemetry.requestsTotal(),
      };
    },
  );

  app.get(
    '/api/gateway/status',
    {
      config: { surface: 'gateway.status' },
      schema: { tags, summary: 'Status of this process', response: { 200: Status } },
    },
    async () => {
      const cache = deps.capabilityCache();
      const uptime = Math.floor(deps.uptimeSeconds());
      return {
        schema_version: '1',
        gateway_instance_id: deps.instanceId,
        status_seq: uptime,
        state: deps.state(),
        version: deps.version,
        uptime_seconds: uptime,
        requests_processed: telemetry.requestsTotal(),
        tenants: 1,
        cache: {
          capability_cache_size: cache.size,
          hits: cache.hits,
          misses: cache.misses,
          evictions: cache.evictions,
        },
        sessions: { active_sessions: activeSessions(telemetry), replay_rejections_1h: deps.replaysLastHour() },
      };
    },
  );
}

/** Those who watch the log, and MCP clients. */
function activeSessions(telemetry: Telemetry): number {
  return telemetry.activeSessions() + telemetry.openMcpSessions();
}
