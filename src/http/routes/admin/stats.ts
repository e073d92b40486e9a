/** Statistics for administrators, with the keys that dashboards of every generation read. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { ReadStats } from '../../../gateway/read-stats.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

const Window = Type.Object({
  window_hours: Type.Optional(
    Type.Integer({ minimum: 1, maximum: bounds.statsWindowHoursMax, description: 'Hours up to now; 24 if absent.' }),
  ),
});

const Count = Type.Integer({ minimum: 0 });
const Share = Type.Number({ minimum: 0, maximum: 1, description: 'The share of requests that were not refused.' });
const Milliseconds = Type.Number({ description: 'An estimate from buckets, at most a quarter off.' });

const AuditStats = Type.Object({
  requests_24h: Type.Integer({ description: 'Requests of the window, whatever its length.' }),
  auth_success_rate: Share,
  denial_reason_counts: Type.Record(Type.String(), Count),
  request_volume_series: Type.Array(
    Type.Object({
      time: Type.Integer({ description: 'Start of the hour in Unix seconds.' }),
      ok: Count,
      deny: Count,
      error: Count,
    }),
  ),
  latency_percentiles: Type.Object({ p50: Milliseconds, p95: Milliseconds, p99: Milliseconds }),
});

const TelemetryStats = Type.Object({
  requests_total: Count,
  tokens_total: Type.Integer({ description: 'What tools report of the tokens that they used; 0 while none does.' }),
  cost_usd: Type.Number({ description: 'What tools report of their cost; 0 while none does.' }),
  latency_avg_ms: Milliseconds,
  auth_success_rate: Share,
  latency_p50_ms: Milliseconds,
  latency_p95_ms: Milliseconds,
});

export interface StatsRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly readStats: ReadStats;
  readonly factsOf: FactsOf;
}

const windowHoursDefault = 24;

export function statsRoutes(app: App, { authenticate, readStats, factsOf }: StatsRouteDeps): void {
  const tags = ['Administration'];
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/audit/stats',
    {
      config: { surface: 'admin.audit.stats', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'What was asked and refused', querystring: Window, response: { 200: AuditStats } },
      onRequest,
    },
    async (request) => {
      const stats = await readStats({
        surfaceId: 'admin.audit.stats',
        ...askerOf(request, factsOf),
        windowHours: request.query.window_hours ?? windowHoursDefault,
      });
      const { p50, p95, p99 } = stats.latencyMs;
      return {
        requests_24h: stats.requests,
        auth_success_rate: stats.authSuccessRate,
        denial_reason_counts: stats.denialReasons,
        request_volume_series: stats.volume.map(({ timeSec, ...volume }) => ({ time: timeSec, ...volume })),
        latency_percentiles: { p50, p95, p99 },
      };
    },
  );

  app.get(
    '/admin/v1/telemetry/stats',
    {
      config: { surface: 'admin.telemetry.stats', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'Volume and latency', querystring: Window, response: { 200: TelemetryStats } },
      onRequest,
    },
    async (request) => {
      const stats = await readStats({
        surfaceId: 'admin.telemetry.stats',
        ...askerOf(request, factsOf),
        windowHours: request.query.window_hours ?? windowHoursDefault,
      });
      return {
        requests_total: stats.requests,
        tokens_total: 0,
        cost_usd: 0,
        latency_avg_ms: stats.latencyMs.mean,
        auth_success_rate: stats.authSuccessRate,
        latency_p50_ms: stats.latencyMs.p50,
        latency_p95_ms: stats.latencyMs.p95,
      };
    },
  );
}
