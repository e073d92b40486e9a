/**
 * The configuration as one document: exported without any secret, and applied as far as it can change while the gateway
 * runs. That is the roles; a snapshot that would change more is refused as a whole.
 */
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import { builtInRoles, type Role } from '../core/role.ts';
import type { ServerSummary } from '../mcp/registry.ts';
import type { Roles } from '../policy/roles.ts';
import type { Administer, Administered, AdminRequest } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import {
  bookOf,
  byPrincipal,
  type ManageRolesOptions,
  type PrincipalBindings,
  type RoleSnapshot,
} from './manage-roles.ts';

export interface SnapshotUpstream {
  readonly id: string;
  /** Without user, query and fragment; null for a server that is a process. */
  readonly url: string | null;
  readonly transport: string;
}

export interface ConfigSnapshot {
  readonly version: '1.0';
  /** RFC 3339. */
  readonly timestamp: string;
  readonly upstreams: readonly SnapshotUpstream[];
  readonly rbac: { readonly roles: readonly Role[]; readonly bindings: readonly PrincipalBindings[] };
  readonly metadata: { readonly origin: string };
}

export interface AppliedSnapshot {
  readonly upstreams?: readonly SnapshotUpstream[] | undefined;
  readonly rbac?: RoleSnapshot | undefined;
}

export interface ConfigSnapshots {
  readonly export: (request: AdminRequest) => Promise<ConfigSnapshot>;
  /** Throws `CONFIG_CHANGE_REFUSED`, `CONFIG_SNAPSHOT_INVALID`, or what the roles are refused with; nothing is applied then. */
  readonly apply: (request: AdminRequest, snapshot: AppliedSnapshot) => Promise<Administered<string>>;
}

export interface ConfigSnapshotOptions extends ManageRolesOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly roles: Roles;
  readonly clock: Clock;
  readonly servers: () => readonly ServerSummary[];
  /** Names this gateway in what it exports. */
  readonly origin: string;
}

export function createConfigSnapshots(options: ConfigSnapshotOptions): ConfigSnapshots {
  const { authorizeAction, administer, roles, clock, origin } = options;
  return {
    async export({ caller, facts }) {
      await authorizeAction('admin.config.export', caller, facts);
      const book = roles.book();
      return {
        version: '1.0',
        timestamp: new Date(clock.now()).toISOString(),
        upstreams: upstreamsOf(options),
        rbac: { roles: [...builtInRoles, ...book.roles], bindings: byPrincipal(book.bindings) },
        metadata: { origin },
      };
    },
    async apply(request, snapshot) {
      const applied = await administer(request, {
        surfaceId: 'admin.config.apply',
        resource: { type: 'configuration', id: 'rbac' },
        prepare: async () => prepared(options, request, snapshot),
      });
      await roles.refresh().catch(() => undefined);
      return applied;
    },
  };
}

function prepared(options: ConfigSnapshotOptions, { caller }: AdminRequest, { upstreams, rbac }: AppliedSnapshot) {
  if (upstreams !== undefined && canonicalUpstreams(upstreams) !== canonicalUpstreams(upstreamsOf(options))) {
    throw new TalosError('CONFIG_CHANGE_REFUSED', {
      message: 'The tool servers of the snapshot are not those of this gateway, and a snapshot cannot change them.',
      details: { unchangeable: ['upstreams'] },
    });
  }
  if (rbac === undefined) return { companions: {}, answer: 'There was nothing to change.' };
  const { roles, bindings } = bookOf(options, caller, rbac);
  return {
    companions: { roles: { kind: 'replace_all' as const, roles, bindings } },
    details: { roles: roles.map(({ name }) => name), bindings: bindings.length },
    answer: `Applied ${roles.length} roles and ${bindings.length} bindings.`,
  };
}

function upstreamsOf({ servers }: ConfigSnapshotOptions): SnapshotUpstream[] {
  return servers().map(({ id, upstream, transport }) => ({ id, url: upstream ?? null, transport }));
}

function canonicalUpstreams(upstreams: readonly SnapshotUpstream[]): string {
  return JSON.stringify(upstreams.map(({ id, url, transport }) => [id, url, transport]).sort());
}
