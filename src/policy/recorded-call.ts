/**
 * What a record says of somebody who wanted something done: a tool called, a method of MCP passed on, a conversation, an
 * action of the gateway's own, or reads that were only counted. Enough to judge it again, or the reason why not.
 */
import { bounds } from '../config/bounds.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { adminUser, anonymous, type Principal, teamDefault } from '../core/principal.ts';
import { gatewayServer } from '../core/scope.ts';
import { type SurfaceId, surfaceOf, surfaces } from '../core/surfaces.ts';

/** Why a record cannot be judged by itself. */
export type Unclear = 'only_counted' | 'not_named' | 'right_not_recorded' | 'secret_of_the_administrator';

export interface RecordedCall {
  readonly eventId: string;
  readonly timeSec: number;
  readonly principal: Principal;
  /** What was done: `action` is one of the gateway's own, on the server `gateway`. */
  readonly kind: 'tool' | 'method' | 'chat' | 'action';
  readonly serverId: string;
  /** The tool, the method as scopes name it, or the action. */
  readonly toolName: string;
  /** Of an action: whether it only reads. */
  readonly isRead: boolean;
  /** More than one where reads were counted. */
  readonly calls: number;
  readonly wasAllowed: boolean;
  /** Of the capability that it was made with. */
  readonly capabilityHash: string | undefined;
  /** A capability or a session was shown that did not count: then nothing else does. */
  readonly hadVoidCapability: boolean;
  /** It was granted, and a policy of the team refused it. */
  readonly wasDeniedByPolicy: boolean;
  readonly apiKeyId: string | undefined;
  /** What the key or token itself carried, when no capability was shown. */
  readonly carried: readonly string[];
  readonly schemaHash: string | undefined;
  readonly definitionHash: string | undefined;
  /** The secret that an action named. */
  readonly secret: string | undefined;
  readonly unclear: Unclear | undefined;
}

/** Undefined when the record is of something else, or only says that something was about to happen. */
export function recordedCall(record: JsonObject): RecordedCall | undefined {
  const { meta } = record;
  if (!isJsonObject(meta)) return undefined;
  const what = whatOf(record, meta);
  return what === undefined ? undefined : { ...common(record, meta), ...what };
}

/** What was done; the rest is in every record alike. */
type What = Pick<RecordedCall, 'kind' | 'serverId' | 'toolName'> & Partial<RecordedCall>;

function whatOf(record: JsonObject, meta: JsonObject): What | undefined {
  const { surface_id: surfaceId } = record;
  switch (surfaceId) {
    case 'mcp.tools.call':
      return meta['phase'] === 'intent' || meta['phase'] === 'late'
        ? undefined
        : named('tool', meta, meta['tool_name']);
    case 'mcp.tools.chat':
      // One of the four that each conversation has, and which each has.
      return meta['event_type'] === 'CHAT_RESPONSE_SENT' ? named('chat', meta, meta['tool_name']) : undefined;
    case 'mcp.methods.relay':
      return named('method', meta, methodName(meta['rpc_method']));
    case 'gateway.summary':
      return counted(meta);
    default:
      return typeof surfaceId === 'string' && Object.hasOwn(surfaces, surfaceId)
        ? action(record, meta, surfaceId as SurfaceId)
        : undefined;
  }
}

/** The name of a method of MCP in scopes: `resources/read` is `rpc.resources.read`. */
function methodName(method: JsonValue | undefined): string | undefined {
  return typeof method === 'string' ? `rpc.${method.replaceAll('/', '.')}` : undefined;
}

function named(kind: What['kind'], meta: JsonObject, name: JsonValue | undefined): What {
  const [serverId, toolName] = [text(meta['server_id']), text(name)];
  const isNamed = serverId !== undefined && toolName !== undefined && isWhole(toolName);
  return { kind, serverId: serverId ?? '', toolName: toolName ?? '', ...(isNamed ? {} : { unclear: 'not_named' }) };
}

const cutName = /#[0-9a-f]{16}$/;

// What is longer than a record holds stands there by its beginning and its hash.
function isWhole(name: string): boolean {
  return name.length < bounds.recordNameCharsMax || !cutName.test(name);
}

function action(record: JsonObject, meta: JsonObject, surfaceId: SurfaceId): What | undefined {
  const { action: name, method } = surfaceOf(surfaceId);
  // A session of a stream has two records.
  if (name === undefined || meta['event_type'] === 'session_close') return undefined;
  const { resource } = record;
  const secret = isJsonObject(resource) && resource['resource_type'] === 'secret' ? text(resource['resource_id']) : '';
  return {
    ...{ kind: 'action', serverId: gatewayServer, toolName: name, isRead: method === 'GET' },
    ...(secret === undefined || secret === '' ? {} : { secret }),
    ...unclearAction(record, meta, name),
  };
}

function unclearAction(
  { principal, outcome }: JsonObject,
  meta: JsonObject,
  name: string,
): Pick<RecordedCall, 'unclear'> {
  // Their record is of what was reported, by whoever reported it.
  if (name === 'events.write' && outcome !== 'denied') return { unclear: 'right_not_recorded' };
  const isAdmin = isJsonObject(principal) && principal['principal_id'] === adminUser.id;
  const hasRight = meta['capability_hash'] !== undefined || meta['carried_permissions'] !== undefined;
  // Whoever has the admin secret is judged by no policy.
  return { unclear: isAdmin && !hasRight ? 'secret_of_the_administrator' : undefined };
}

function counted(meta: JsonObject): What | undefined {
  const { summarised_surface: surfaceId, summarised_count: count, summarised_principal: id } = meta;
  if (typeof surfaceId !== 'string' || !Object.hasOwn(surfaces, surfaceId)) return undefined;
  const { action: toolName } = surfaceOf(surfaceId as SurfaceId);
  if (toolName === undefined) return undefined;
  return {
    ...{ kind: 'action', serverId: gatewayServer, toolName, isRead: true, unclear: 'only_counted' },
    principal: { authMode: 'bearer', id: String(id), teamId: teamDefault },
    calls: Number(count),
  };
}

function common(record: JsonObject, meta: JsonObject): Omit<RecordedCall, 'kind' | 'serverId' | 'toolName'> {
  const { outcome, principal, ts, event_id: eventId } = record;
  const capabilityHash = text(meta['capability_hash']);
  return {
    eventId: String(eventId),
    timeSec: Math.floor(Date.parse(String(ts)) / 1000),
    principal: principalIn(principal),
    isRead: false,
    calls: 1,
    // Of the administration this says that the action was allowed, and what it would have changed was not.
    wasAllowed: outcome !== 'denied' || meta['event_type'] === 'administration',
    capabilityHash,
    hadVoidCapability: capabilityHash === undefined && isVoid(meta),
    wasDeniedByPolicy: policyDetails.has(meta['denial_detail']),
    apiKeyId: text(meta['by_api_key']),
    carried: (text(meta['carried_permissions']) ?? '').split(' ').filter((permission) => permission !== ''),
    schemaHash: text(meta['schema_hash']),
    definitionHash: text(meta['definition_hash']),
    secret: undefined,
    unclear: undefined,
  };
}

const policyDetails: ReadonlySet<JsonValue | undefined> = new Set(['policy_server', 'policy_tool', 'policy_stale']);

const voidReasons: ReadonlySet<JsonValue | undefined> = new Set([
  'EXPIRED',
  'REVOKED',
  'SIGNATURE_INVALID',
  'DELEGATION_INVALID',
]);
const voidDetails: ReadonlySet<JsonValue | undefined> = new Set([
  'session_unknown',
  'not_yet_valid',
  'scope_malformed',
  'possession_unproven',
  'subject_mismatch',
]);

function isVoid({ denial_reason: reason, denial_detail: detail }: JsonObject): boolean {
  return voidReasons.has(reason) || voidDetails.has(detail);
}

function principalIn(value: JsonValue | undefined): Principal {
  if (!isJsonObject(value) || value['auth_mode'] !== 'bearer') return anonymous;
  return { authMode: 'bearer', id: String(value['principal_id']), teamId: String(value['team_id'] ?? teamDefault) };
}

function text(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
