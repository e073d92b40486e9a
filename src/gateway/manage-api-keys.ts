/**
 * API keys: made, listed, replaced and revoked by those who may. Nobody makes a key that could do more than they can, and
 * only who may do everything makes one in the name of somebody else.
 */
import { type ApiKey, type ApiKeyChange, type ApiKeyDigest, isApiKeyInForce } from '../core/api-key.ts';
import type { Companions } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import { isKnownPermission } from '../core/known-permissions.ts';
import { teamDefault } from '../core/principal.ts';
import { assertPrincipalId, isPlainText, normalPermissions } from '../core/role-rules.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import { isUuidv7, uuidv7 } from '../core/uuidv7.ts';
import type { PolicyMode } from '../policy/decide.ts';
import { mayGive } from '../policy/may-give.ts';
import type { ApiKeyStore } from '../storage/api-keys.ts';
import type { Administer, Administered, AdminRequest, Prepared } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller } from './caller.ts';
import { notTheirs } from './refusal.ts';

export interface NewApiKey {
  readonly name: string;
  /** `key:<id>` when absent. */
  readonly principalId?: string;
  /** The caller's when absent. */
  readonly teamId?: string;
  readonly permissions: readonly string[];
  /** Absent for a key without end. */
  readonly ttlSec?: number;
}

/** A key at the only moment when it is known whole. */
export interface IssuedApiKey {
  readonly apiKey: ApiKey;
  readonly key: string;
}

export interface ApiKeyPage {
  /** Newest first. */
  readonly apiKeys: readonly ApiKey[];
  readonly total: number;
}

export interface ManageApiKeys {
  readonly list: (
    request: AdminRequest,
    range: { readonly limit: number; readonly offset: number },
  ) => Promise<ApiKeyPage>;
  /** Throws `INVALID_REQUEST`, `TALOS_DENIED` or `API_KEYS_DISABLED`. */
  readonly create: (request: AdminRequest, key: NewApiKey) => Promise<Administered<IssuedApiKey>>;
  /** A key in place of another, which counts for `graceSec` more. Throws `NOT_FOUND`, or `CONFLICT` when it has ended. */
  readonly rotate: (request: AdminRequest, id: string, graceSec: number) => Promise<Administered<IssuedApiKey>>;
  /** Throws `NOT_FOUND`. A key that was revoked before stays as it was. */
  readonly revoke: (request: AdminRequest, id: string) => Promise<Administered<ApiKey>>;
}

export interface ManageApiKeysOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly policyMode: PolicyMode;
  readonly store: Pick<ApiKeyStore, 'get' | 'list' | 'count'>;
  /** Throws `API_KEYS_DISABLED`. */
  readonly mint: () => { readonly key: string; readonly hint: string; readonly digest: ApiKeyDigest };
  /** To be called after a change. */
  readonly forget: () => void;
  readonly clock: Clock;
}

export function createManageApiKeys(options: ManageApiKeysOptions): ManageApiKeys {
  const { authorizeAction, administer, store, forget, clock } = options;

  async function change<T>(
    request: AdminRequest,
    surfaceId: SurfaceId,
    resourceId: string,
    prepare: () => Promise<Prepared<T>>,
  ): Promise<Administered<T>> {
    const resource = { type: 'api_key', id: resourceId };
    return await administer(request, { surfaceId, resource, prepare }).finally(forget);
  }

  return {
    async list({ caller, facts }, range) {
      await authorizeAction('admin.keys.list', caller, facts);
      const [apiKeys, total] = await Promise.all([store.list(range), store.count()]);
      return { apiKeys, total };
    },
    create: (request, given) =>
      change(request, 'admin.keys.create', given.name, async () =>
        issued(options, newKey(options, request.caller, given), []),
      ),
    rotate: (request, id, graceSec) =>
      change(request, 'admin.keys.rotate', id, async () => {
        const nowMs = clock.now();
        const old = await existing(store, id);
        if (!isApiKeyInForce(old, nowMs)) throw new TalosError('CONFLICT', { message: 'The API key has ended.' });
        assertMayMake(options, request.caller, old);
        const end: ApiKeyChange =
          graceSec === 0 ? { kind: 'revoke', id, atMs: nowMs } : { kind: 'expire', id, atMs: nowMs + graceSec * 1000 };
        return issued(options, { ...fresh(options, request.caller, old), replaces: id }, [end]);
      }),
    revoke: (request, id) =>
      change(request, 'admin.keys.revoke', id, async () => {
        const atMs = clock.now();
        const apiKey = await existing(store, id);
        return {
          companions: { apiKeys: [{ kind: 'revoke', id, atMs }] },
          answer: { ...apiKey, revokedAtMs: apiKey.revokedAtMs ?? atMs },
        };
      }),
  };
}

/** A key with what it is to have, and nothing yet that only its making gives it. */
type Draft = Omit<ApiKey, 'hint'>;

function newKey(options: ManageApiKeysOptions, caller: Caller, given: NewApiKey): Draft {
  const { name, ttlSec } = given;
  if (!isPlainText(name)) throw new TalosError('INVALID_REQUEST', { message: 'A name has no control characters.' });
  if (given.principalId !== undefined) assertPrincipalId(given.principalId);
  const teamId = given.teamId ?? ownTeam(caller);
  if (!isPlainText(teamId)) throw new TalosError('INVALID_REQUEST', { message: 'A team has no control characters.' });
  const permissions = normalPermissions(given.permissions);
  assertKnown(permissions);
  const draft = fresh(options, caller, {
    name,
    principalId: given.principalId,
    teamId,
    permissions,
    expiresAtMs: ttlSec === undefined ? undefined : options.clock.now() + ttlSec * 1000,
  });
  assertMayMake(options, caller, draft);
  return draft;
}

/** A key whose permissions open nothing would be found out only when it is used. */
function assertKnown(permissions: readonly string[]): void {
  const unknown = permissions.filter((permission) => !isKnownPermission(permission));
  if (unknown.length === 0) return;
  throw new TalosError('INVALID_REQUEST', {
    message: `Nothing here asks for ${unknown.slice(0, 5).join(', ')}; GET /admin/v1/rbac/permissions lists what has a meaning.`,
  });
}

type Given = Pick<ApiKey, 'name' | 'teamId' | 'permissions' | 'expiresAtMs'> & {
  readonly principalId: string | undefined;
};

function fresh({ clock }: ManageApiKeysOptions, caller: Caller, given: Given): Draft {
  const createdAtMs = clock.now();
  const id = uuidv7({ ms: createdAtMs, counter: 0 });
  const { name, teamId, permissions, expiresAtMs } = given;
  return {
    id,
    name,
    principalId: given.principalId ?? ownName(id),
    teamId,
    permissions,
    createdAtMs,
    createdBy: caller.principal.authMode === 'bearer' ? caller.principal.id : 'anonymous',
    expiresAtMs,
    revokedAtMs: undefined,
    replaces: undefined,
    lastUsedAtMs: undefined,
  };
}

/** The principal of a key that speaks for nobody else. */
function ownName(id: string): string {
  return `key:${id}`;
}

function ownTeam({ principal }: Caller): string {
  return principal.authMode === 'bearer' && principal.teamId !== '*' ? principal.teamId : teamDefault;
}

/** Throws `TALOS_DENIED` when the caller would get more by the key than they have. */
function assertMayMake({ policyMode }: ManageApiKeysOptions, caller: Caller, key: Draft): void {
  // Whose name it is decides of roles and teams, so that a foreign one may be worth anything.
  const isOwn = key.principalId === ownName(key.id) && key.teamId === ownTeam(caller);
  if (mayGive(isOwn ? key.permissions : ['*:*'], caller, policyMode)) return;
  throw notTheirs('escalation', 'Nobody makes a key that may do more than they may themselves.');
}

function issued(options: ManageApiKeysOptions, draft: Draft, ends: readonly ApiKeyChange[]): Prepared<IssuedApiKey> {
  const { key, hint, digest } = options.mint();
  const apiKey: ApiKey = { ...draft, hint };
  const companions: Companions = { apiKeys: [...ends, { kind: 'add', apiKey, digest }] };
  return { companions, meta: { api_key_id: apiKey.id }, details: detailsOf(apiKey), answer: { apiKey, key } };
}

function detailsOf({ id, name, principalId, teamId, permissions, expiresAtMs, replaces }: ApiKey): JsonObject {
  return {
    api_key_id: id,
    name,
    principal_id: principalId,
    team_id: teamId,
    permissions,
    ...(expiresAtMs === undefined ? {} : { expires_at: new Date(expiresAtMs).toISOString() }),
    ...(replaces === undefined ? {} : { replaces }),
  };
}

async function existing(store: ManageApiKeysOptions['store'], id: string): Promise<ApiKey> {
  const apiKey = isUuidv7(id) ? await store.get(id) : undefined;
  if (apiKey === undefined) throw new TalosError('NOT_FOUND', { message: 'There is no such API key.' });
  return apiKey;
}
