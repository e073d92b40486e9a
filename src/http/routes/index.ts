/** Every route of the gateway, registered in one place. */
import type { App } from '../fastify.ts';
import { type StatsRouteDeps, statsRoutes } from './admin/stats.ts';
import { describeRoutes, docsRoutes } from './docs/docs.ts';
import { type ReadRouteDeps, readEventRoutes } from './events/read.ts';
import { recordRoutes } from './events/records.ts';
import { type SubmitRouteDeps, submitEventRoutes } from './events/submit.ts';
import { type HealthDeps, healthRoutes } from './health/health.ts';
import { type ProbeDeps, probeRoutes } from './health/probes.ts';
import { type StatusDeps, statusRoutes } from './health/status.ts';
import { type LogRouteDeps, logRoutes } from './log/log.ts';
import { callToolRoute } from './mcp/call-tool.ts';
import { listToolsRoutes } from './mcp/list-tools.ts';

export type RouteDeps = HealthDeps &
  StatusDeps &
  ProbeDeps &
  ReadRouteDeps &
  SubmitRouteDeps &
  LogRouteDeps &
  StatsRouteDeps &
  Parameters<typeof callToolRoute>[1] &
  Parameters<typeof listToolsRoutes>[1];

export async function registerRoutes(app: App, deps: RouteDeps): Promise<void> {
  await describeRoutes(app);
  healthRoutes(app, deps);
  probeRoutes(app, deps);
  statusRoutes(app, deps);
  readEventRoutes(app, deps);
  recordRoutes(app, deps);
  submitEventRoutes(app, deps);
  logRoutes(app, deps);
  statsRoutes(app, deps);
  listToolsRoutes(app, deps);
  callToolRoute(app, deps);
  await docsRoutes(app);
}
