/** Every route of the gateway, registered in one place. */
import type { App } from '../fastify.ts';
import { type ApiKeyRouteDeps, apiKeyRoutes } from './admin/api-keys.ts';
import { type ApprovalRouteDeps, approvalRoutes } from './admin/approvals.ts';
import { type TokenRouteDeps, tokenRoutes } from './admin/auth.ts';
import { type CapabilityRouteDeps, capabilityRoutes } from './admin/capabilities.ts';
import { type ConfigRouteDeps, configRoutes } from './admin/config.ts';
import { type ExplainRouteDeps, explainRoutes } from './admin/explain.ts';
import { type McpPolicyRouteDeps, mcpPolicyRoutes } from './admin/mcp-policies.ts';
import { type McpServerRouteDeps, mcpServerRoutes } from './admin/mcp-servers.ts';
import { type MeRouteDeps, meRoutes } from './admin/me.ts';
import { type PinRouteDeps, pinRoutes } from './admin/pins.ts';
import { type RbacRouteDeps, rbacRoutes } from './admin/rbac.ts';
import { type SecretRouteDeps, secretRoutes } from './admin/secrets.ts';
import { type StatsRouteDeps, statsRoutes } from './admin/stats.ts';
import { type ChatRouteDeps, chatRoute } from './chat/chat.ts';
import { describeRoutes, docsRoutes } from './docs/docs.ts';
import { type ReadRouteDeps, readEventRoutes } from './events/read.ts';
import { recordRoutes } from './events/records.ts';
import { type SubmitRouteDeps, submitEventRoutes } from './events/submit.ts';
import { type HealthDeps, healthRoutes } from './health/health.ts';
import { type ProbeDeps, probeRoutes } from './health/probes.ts';
import { type StatusDeps, statusRoutes } from './health/status.ts';
import { type LogRouteDeps, logRoutes } from './log/log.ts';
import { callToolRoute } from './mcp/call-tool.ts';
import { type ConnectionRouteDeps, connectionRoutes } from './mcp/connections.ts';
import { type LegacyRouteDeps, legacyMcpRoutes } from './mcp/legacy-sse.ts';
import { listToolsRoutes } from './mcp/list-tools.ts';
import { type NativeRouteDeps, nativeMcpRoutes } from './mcp/native.ts';
import { oauthRoutes } from './oauth.ts';
import { type StreamRouteDeps, streamRoutes } from './stream/stream.ts';

export type RouteDeps = HealthDeps &
  StatusDeps &
  ProbeDeps &
  ReadRouteDeps &
  SubmitRouteDeps &
  LogRouteDeps &
  StatsRouteDeps &
  MeRouteDeps &
  RbacRouteDeps &
  SecretRouteDeps &
  ConfigRouteDeps &
  McpServerRouteDeps &
  McpPolicyRouteDeps &
  ApprovalRouteDeps &
  PinRouteDeps &
  ApiKeyRouteDeps &
  TokenRouteDeps &
  CapabilityRouteDeps &
  ExplainRouteDeps &
  StreamRouteDeps &
  Parameters<typeof callToolRoute>[1] &
  NativeRouteDeps &
  LegacyRouteDeps &
  ChatRouteDeps &
  ConnectionRouteDeps &
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
  streamRoutes(app, deps);
  statsRoutes(app, deps);
  meRoutes(app, deps);
  rbacRoutes(app, deps);
  secretRoutes(app, deps);
  configRoutes(app, deps);
  mcpServerRoutes(app, deps);
  mcpPolicyRoutes(app, deps);
  approvalRoutes(app, deps);
  pinRoutes(app, deps);
  apiKeyRoutes(app, deps);
  tokenRoutes(app, deps);
  oauthRoutes(app);
  capabilityRoutes(app, deps);
  explainRoutes(app, deps);
  listToolsRoutes(app, deps);
  callToolRoute(app, deps);
  await connectionRoutes(app, deps);
  nativeMcpRoutes(app, deps);
  legacyMcpRoutes(app, deps);
  chatRoute(app, deps);
  await docsRoutes(app);
}
