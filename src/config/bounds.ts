/**
 * Every bound of the gateway, named with its unit last, and kept by what it bounds. A queue, body, time-out or cache without
 * an entry here is unbounded, and nothing may be unbounded.
 */
import { authBounds } from './bounds/auth.ts';
import { httpBounds } from './bounds/http.ts';
import { limitBounds } from './bounds/limits.ts';
import { logBounds } from './bounds/log.ts';
import { mcpClientBounds } from './bounds/mcp-clients.ts';
import { policyBounds } from './bounds/policy.ts';
import { settingBounds } from './bounds/settings.ts';
import { storageBounds } from './bounds/storage.ts';
import { streamBounds } from './bounds/streams.ts';
import { toolRuleBounds } from './bounds/tool-rules.ts';
import { toolServerBounds } from './bounds/tool-servers.ts';

export const bounds = {
  ...httpBounds,
  ...authBounds,
  ...policyBounds,
  ...limitBounds,
  ...toolServerBounds,
  ...toolRuleBounds,
  ...mcpClientBounds,
  ...logBounds,
  ...streamBounds,
  ...storageBounds,
  ...settingBounds,
} as const;
