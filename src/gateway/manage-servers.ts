/**
 * Tool servers as administrators see and change them. Those of the file and the environment are shown and cannot be changed
 * here. Whoever lets a server have a secret must be trusted with that secret: an address of one's own would reveal it.
 */
import { isIP } from 'node:net';
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import { type ManagedServerRules, readManagedServer, secretsOf } from '../config/managed-server.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import { type McpServerSpec, withoutCredentials } from '../core/mcp-server.ts';
import { tokenPurpose } from '../core/server-auth.ts';
import type { ServerBook, StoredServer } from '../core/tool-server.ts';
import { isForbiddenAddress, isPublicAddress } from '../mcp/network/dial.ts';
import { type Registry, serverNotFound } from '../mcp/registry.ts';
import type { ServerHealth } from '../mcp/resilience/circuit.ts';
import type { ServerTest } from '../mcp/server-test.ts';
import type { ToolServers } from '../mcp/stored-servers.ts';
import { type Administer, type Administered, type AdminRequest, adminDraft, conflict } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import { credentialFor, type UserCredentials } from './server-for.ts';

/** A server without anything that is secret. */
export interface ServerView {
  readonly spec: McpServerSpec;
  /** Whether it is set by the file or the environment, or was added while the gateway ran. */
  readonly source: 'configuration' | 'api';
  /** Of one that was added. */
  readonly stored?: StoredServer;
  /** Names of the secrets that it refers to. */
  readonly secrets: readonly string[];
  /** Why it is not used, where that is so. */
  readonly problems: readonly string[];
  /** Absent for a server that is not used. */
  readonly health?: ServerHealth;
}

export interface ManageServers {
  /** Ordered by id. */
  readonly list: (request: AdminRequest) => Promise<readonly ServerView[]>;
  /** Throws `SERVER_NOT_FOUND`, as do those below. */
  readonly get: (request: AdminRequest, serverId: string) => Promise<ServerView>;
  /** Throws `INVALID_REQUEST`, or `CONFLICT` when the id is taken or there are too many. */
  readonly add: (request: AdminRequest, serverId: string, fields: JsonObject) => Promise<Administered<ServerView>>;
  /**
   * Replaces what `patch` names and takes away what it sets to null. Throws `INVALID_REQUEST`, or `CONFLICT` for a server of
   * the configuration and for one that is not at `expectedVersion`.
   */
  readonly change: (
    request: AdminRequest,
    serverId: string,
    patch: JsonObject,
    expectedVersion?: number,
  ) => Promise<Administered<ServerView>>;
  /** Throws `CONFLICT` for a server of the configuration. */
  readonly remove: (request: AdminRequest, serverId: string) => Promise<Administered<string>>;
  /** Connects anew and lists the tools, also of a server that is disabled. */
  readonly test: (request: AdminRequest, serverId: string, signal: AbortSignal) => Promise<Administered<ServerTest>>;
}

export interface ManageServersOptions extends ManagedServerRules {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly registry: Pick<Registry, 'get' | 'test'>;
  readonly toolServers: Pick<ToolServers, 'configured' | 'stored' | 'refresh'>;
  readonly credentials: UserCredentials;
}

export function createManageServers(options: ManageServersOptions): ManageServers {
  const { authorizeAction, administer, recorder, registry, toolServers } = options;

  // Under the lock nobody else changes them, so what is read now is what the change meets.
  async function book(): Promise<ServerBook> {
    await toolServers.refresh();
    return toolServers.stored();
  }

  async function seen<T>(change: Promise<Administered<T>>): Promise<Administered<T>> {
    const done = await change;
    // The change is made; a gateway that cannot read it now reads it with its next poll.
    await toolServers.refresh().catch(() => undefined);
    return done;
  }

  /** What puts a server, when it may be put. */
  async function put({ caller, facts }: AdminRequest, serverId: string, fields: JsonObject, trusts: boolean) {
    const spec = readable(options, serverId, fields);
    assertAddressAllowed(spec);
    for (const name of trusts ? secretsOf(spec) : []) {
      await authorizeAction('admin.secrets.set', caller, facts, [
        { scope_type: 'secret', attributes: { secret: name } },
      ]);
    }
    // It is given the tokens of whoever calls, so only who could speak in anybody's name anyway may put it there.
    if (trusts && spec.auth?.type === 'token_exchange') {
      await authorizeAction('admin.rbac.roles.create', caller, facts);
    }
    return {
      companions: { toolServers: { kind: 'put' as const, serverId, fields } },
      details: detailsOf(spec),
      answer: undefined,
    };
  }

  /** The change, and how the server is then. */
  async function shown(serverId: string, change: Promise<Administered<undefined>>): Promise<Administered<ServerView>> {
    const { auditRef } = await seen(change);
    return { auditRef, answer: found(options, serverId) };
  }

  return {
    async list({ caller, facts }) {
      await authorizeAction('admin.mcp.servers.list', caller, facts);
      return views(options);
    },
    async get({ caller, facts }, serverId) {
      await authorizeAction('admin.mcp.servers.get', caller, facts);
      return found(options, serverId);
    },
    add: (request, serverId, fields) =>
      shown(
        serverId,
        administer(request, {
          surfaceId: 'admin.mcp.servers.add',
          resource: resourceOf(serverId),
          async prepare() {
            assertRoom(options, await book(), serverId);
            return await put(request, serverId, fields, true);
          },
        }),
      ),
    change: (request, serverId, patch, expectedVersion) =>
      shown(
        serverId,
        administer(request, {
          surfaceId: 'admin.mcp.servers.change',
          resource: resourceOf(serverId),
          async prepare() {
            const known = changeable(options, await book(), serverId);
            if (expectedVersion !== undefined && expectedVersion !== known.version) {
              throw conflict(`The server is at version ${known.version}, not ${expectedVersion}.`);
            }
            // Who only stops a server, or starts it again, gives it nothing that it had not.
            const trusts = Object.keys(patch).some((key) => key !== 'enabled');
            return await put(request, serverId, patched(known.fields, patch), trusts);
          },
        }),
      ),
    remove: (request, serverId) =>
      seen(
        administer(request, {
          surfaceId: 'admin.mcp.servers.remove',
          resource: resourceOf(serverId),
          async prepare() {
            changeable(options, await book(), serverId);
            return { companions: { toolServers: { kind: 'delete', serverId } }, answer: serverId };
          },
        }),
      ),
    async test(request, serverId, signal) {
      await authorizeAction('admin.mcp.servers.test', request.caller, request.facts);
      const { spec, problems } = found(options, serverId);
      if (problems.length > 0) throw new TalosError('INVALID_REQUEST', { message: problems.join(' ') });
      const result = await registry.test(spec, signal, credentialFor(options.credentials, spec, request.caller));
      const draft = adminDraft('admin.mcp.servers.test', request, resourceOf(serverId), 'administration', {
        server_id: serverId,
        tested_result: result.isGood ? 'good' : result.code,
      });
      const { eventId } = await recorder.record({ ...draft, outcome: result.isGood ? 'success' : 'failure' });
      return { answer: result, auditRef: eventId };
    },
  };
}

function views({ toolServers, registry, stdioAllowed }: ManageServersOptions): ServerView[] {
  const configured = toolServers.configured();
  const taken = new Set(configured.map(({ id }) => id));
  const viewOf = (spec: McpServerSpec, isUsed: boolean) => {
    const health = isUsed ? registry.get(spec.id)?.health : undefined;
    return { spec, secrets: secretsOf(spec), ...(health === undefined ? {} : { health }) };
  };
  const added = toolServers.stored().servers.map((stored): ServerView => {
    const { spec, problems = [] } = readManagedServer(stored.serverId, stored.fields, { stdioAllowed });
    const isShadowed = taken.has(stored.serverId);
    return {
      ...viewOf(spec ?? unusable(stored), spec !== undefined && !isShadowed),
      source: 'api',
      stored,
      problems: isShadowed ? ['The configuration has a server of this id, which is used instead.'] : problems,
    };
  });
  const set = configured.map((spec): ServerView => ({ ...viewOf(spec, true), source: 'configuration', problems: [] }));
  return [...set, ...added].sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1));
}

/** What can be said of a server that the rules of now do not allow. */
function unusable({ serverId }: StoredServer): McpServerSpec {
  return { id: serverId, name: serverId, transport: 'auto', enabled: false };
}

/** The one of the configuration where both have the id: it is the one that is used. */
function found(options: ManageServersOptions, serverId: string): ServerView {
  const view = views(options).find(({ spec }) => spec.id === serverId);
  if (view === undefined) throw serverNotFound(serverId.slice(0, 80));
  return view;
}

function resourceOf(serverId: string) {
  return { type: 'server', id: serverId.slice(0, bounds.recordNameCharsMax) || '-' };
}

function readable({ stdioAllowed }: ManageServersOptions, serverId: string, fields: JsonObject): McpServerSpec {
  const { spec, problems } = readManagedServer(serverId, fields, { stdioAllowed });
  if (spec === undefined) throw new TalosError('INVALID_REQUEST', { message: problems.join(' ') });
  return spec;
}

/** Names are judged when they are dialled; of an address it can be said at once. */
function assertAddressAllowed({ url, publicOnly }: McpServerSpec): void {
  const host = url === undefined ? '' : new URL(url).hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) === 0 && host !== 'localhost') return;
  if (isIP(host) !== 0 && isForbiddenAddress(host)) {
    throw new TalosError('INVALID_REQUEST', { message: 'Link-local and metadata addresses are never dialled.' });
  }
  if (publicOnly !== true || (isIP(host) !== 0 && isPublicAddress(host))) return;
  throw new TalosError('INVALID_REQUEST', { message: 'A private or loopback address needs allow_private: true.' });
}

function assertRoom({ toolServers }: ManageServersOptions, { servers }: ServerBook, serverId: string): void {
  const configured = toolServers.configured();
  if (configured.some(({ id }) => id === serverId)) throw configuredConflict(serverId);
  if (servers.some((server) => server.serverId === serverId)) throw conflict('There is a server of this id.');
  if (configured.length + servers.length < bounds.toolServersMax) return;
  throw conflict(`There are as many servers as a gateway has: ${bounds.toolServersMax}.`);
}

function changeable({ toolServers }: ManageServersOptions, { servers }: ServerBook, serverId: string): StoredServer {
  const known = servers.find((server) => server.serverId === serverId);
  if (known !== undefined) return known;
  if (toolServers.configured().some(({ id }) => id === serverId)) throw configuredConflict(serverId);
  throw serverNotFound(serverId.slice(0, 80));
}

function patched(fields: JsonObject, patch: JsonObject): JsonObject {
  const merged: [string, JsonValue][] = Object.entries({ ...fields, ...patch });
  return Object.fromEntries(merged.filter(([, value]) => value !== null));
}

function detailsOf(spec: McpServerSpec) {
  const { name, transport, url, auth, command, enabled = true, publicOnly = false } = spec;
  return {
    name,
    transport,
    ...(url === undefined ? {} : { upstream: withoutCredentials(url) }),
    ...(command === undefined ? {} : { command }),
    ...(auth === undefined ? {} : { auth: auth.type, auth_client: auth.clientId, auth_purpose: tokenPurpose(spec) }),
    enabled,
    allow_private: !publicOnly,
    secrets: secretsOf(spec),
  };
}

function configuredConflict(serverId: string): TalosError {
  return conflict(`The server '${serverId}' is set by the file or the environment of the gateway: change it there.`);
}
