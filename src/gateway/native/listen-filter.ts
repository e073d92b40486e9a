/** What a client without a session asks to hear of: the `notifications` of `subscriptions/listen` (MCP 2026-07-28). */
import { bounds } from '../../config/bounds.ts';
import type { Denial } from '../../core/denial.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import type { PolicyMode } from '../../policy/decide.ts';
import type { Caller } from '../caller.ts';
import { judgeRpc } from '../rpc-authority.ts';

export interface ListenFilter {
  readonly toolsListChanged?: true;
  readonly promptsListChanged?: true;
  readonly resourcesListChanged?: true;
  readonly resourceSubscriptions?: readonly string[];
}

const flagNames = ['toolsListChanged', 'promptsListChanged', 'resourcesListChanged'] as const;

/** Undefined for what is no filter, or too much of one. Among all servers there are only tools to hear of. */
export function readListenFilter(value: JsonValue | undefined, serverId: string | undefined): ListenFilter | undefined {
  if (!isJsonObject(value)) return undefined;
  if (flagNames.some((name) => !['boolean', 'undefined'].includes(typeof value[name]))) return undefined;
  const uris = value['resourceSubscriptions'] ?? [];
  if (!Array.isArray(uris) || uris.length > bounds.mcpListenUrisMax) return undefined;
  if (!uris.every((uri) => typeof uri === 'string')) return undefined;
  const flags = flagNames.filter((name) => value[name] === true && (serverId !== undefined || name === flagNames[0]));
  return {
    ...Object.fromEntries(flags.map((name) => [name, true])),
    ...(uris.length === 0 || serverId === undefined ? {} : { resourceSubscriptions: uris }),
  };
}

/** Whether this was asked for. That tools have changed is told by whoever has their list. */
export function isAskedFor(filter: ListenFilter, method: string, params: JsonObject): boolean {
  if (method === 'notifications/prompts/list_changed') return filter.promptsListChanged === true;
  if (method === 'notifications/resources/list_changed') return filter.resourcesListChanged === true;
  const uri = params['uri'];
  const isUpdate = method === 'notifications/resources/updated' && typeof uri === 'string';
  return isUpdate && filter.resourceSubscriptions?.includes(uri) === true;
}

/** Each of what is asked for needs the right to what it tells of. */
export function listenDenial(
  filter: ListenFilter,
  caller: Caller,
  serverId: string | undefined,
  mode: PolicyMode,
): Denial | undefined {
  if (serverId === undefined) return caller.denial;
  for (const [method, params] of neededFor(filter)) {
    const denial = judgeRpc({ caller, serverId, method, params }, mode);
    if (denial !== undefined) return denial;
  }
  return caller.denial;
}

function neededFor(filter: ListenFilter): [method: string, params: JsonObject][] {
  const { promptsListChanged, resourcesListChanged, resourceSubscriptions = [] } = filter;
  const needed: [string, JsonObject][] = resourceSubscriptions.map((uri) => ['resources/subscribe', { uri }]);
  if (promptsListChanged) needed.push(['prompts/get', {}]);
  if (resourcesListChanged) needed.push(['resources/read', {}]);
  return needed;
}
