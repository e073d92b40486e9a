/** What a client without a session asks to hear of: the `notifications` of `subscriptions/listen` (MCP 2026-07-28). */
import { bounds } from '../../../config/bounds.ts';
import type { Denial } from '../../../core/denial.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../../core/json.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { Caller } from '../../caller.ts';
import { type JudgedRpc, judgeRpc } from '../../rpc-authority.ts';
import { type OwnUri, ownUri } from '../aggregate/names.ts';
import { promptsChanged, resourcesChanged, toolsChanged } from '../list-changes.ts';

export interface ListenFilter {
  readonly toolsListChanged?: true;
  readonly promptsListChanged?: true;
  readonly resourcesListChanged?: true;
  /** Own URIs of resources, by server. */
  readonly resourceSubscriptions?: ReadonlyMap<string, readonly string[]>;
}

const flags = [
  ['toolsListChanged', toolsChanged],
  ['promptsListChanged', promptsChanged],
  ['resourcesListChanged', resourcesChanged],
] as const;

/** Undefined for what is no filter, or too much of one. Among all servers resources are named as they are there. */
export function readListenFilter(value: JsonValue | undefined, serverId: string | undefined): ListenFilter | undefined {
  if (!isJsonObject(value)) return undefined;
  if (flags.some(([name]) => !['boolean', 'undefined'].includes(typeof value[name]))) return undefined;
  const uris = value['resourceSubscriptions'] ?? [];
  if (!Array.isArray(uris) || uris.length > bounds.mcpListenUrisMax) return undefined;
  const resources = uris.map((uri) => (typeof uri === 'string' ? resourceOf(uri, serverId) : undefined));
  if (!resources.every((resource) => resource !== undefined)) return undefined;
  return {
    ...Object.fromEntries(flags.filter(([name]) => value[name] === true).map(([name]) => [name, true])),
    ...(resources.length === 0 ? {} : { resourceSubscriptions: byServer(resources) }),
  };
}

function resourceOf(uri: string, serverId: string | undefined): OwnUri | undefined {
  return serverId === undefined ? ownUri(uri) : { serverId, uri };
}

function byServer(resources: readonly OwnUri[]): ReadonlyMap<string, readonly string[]> {
  const groups = Map.groupBy(resources, ({ serverId }) => serverId);
  return new Map([...groups].map(([serverId, group]) => [serverId, group.map(({ uri }) => uri)]));
}

/** Whether it was asked to hear that this list changed. */
export function isListAskedFor(filter: ListenFilter, changed: string): boolean {
  return flags.some(([name, method]) => method === changed && filter[name] === true);
}

/** Whether this was asked for. That tools have changed is told by whoever has their list. */
export function isAskedFor(filter: ListenFilter, serverId: string, method: string, params: JsonObject): boolean {
  if (method === toolsChanged) return false;
  if (isListAskedFor(filter, method)) return true;
  const uri = params['uri'];
  const isUpdate = method === 'notifications/resources/updated' && typeof uri === 'string';
  return isUpdate && filter.resourceSubscriptions?.get(serverId)?.includes(uri) === true;
}

/**
 * Each of what is asked for needs the right to what it tells of. Lists of all servers tell of those that the caller may
 * use, be it none.
 */
export function listenDenial(
  filter: ListenFilter,
  caller: Caller,
  serverId: string | undefined,
  mode: PolicyMode,
): Denial | undefined {
  for (const request of neededFor(filter, serverId)) {
    const denial = judgeRpc({ caller, ...request }, mode);
    if (denial !== undefined) return denial;
  }
  return caller.denial;
}

type Needed = Omit<JudgedRpc, 'caller'>;

function neededFor(filter: ListenFilter, serverId: string | undefined): Needed[] {
  const { promptsListChanged, resourcesListChanged, resourceSubscriptions = new Map() } = filter;
  const watched = [...resourceSubscriptions].flatMap(([id, uris]) =>
    uris.map((uri: string) => ({ serverId: id, method: 'resources/subscribe', params: { uri } })),
  );
  if (serverId === undefined) return watched;
  return [
    ...watched,
    ...(promptsListChanged ? [{ serverId, method: 'prompts/get', params: {} }] : []),
    ...(resourcesListChanged ? [{ serverId, method: 'resources/read', params: {} }] : []),
  ];
}
