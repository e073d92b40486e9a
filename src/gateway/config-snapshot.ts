/**
 * The configuration as one document: exported without any secret, and applied as far as it can change while the gateway
 * runs. That is the roles; a snapshot that would change more is refused as a whole.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import { builtInRoles, type Role, type RoleBinding } from '../core/role.ts';
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
        async prepare() {
          await roles.refresh();
          return prepared(options, request, snapshot);
        },
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
  const before = options.roles.book();
  const { roles, bindings: given } = bookOf(options, caller, rbac);
  const bindings = sinceBefore(given, before.bindings);
  const changes = {
    roles: changesOf(before.roles, roles, ({ name }) => name),
    bindings: changesOf(before.bindings, bindings, ({ binding_id }) => binding_id),
  };
  return {
    companions: { roles: { kind: 'replace_all' as const, roles, bindings } },
    details: { roles: roles.map(({ name }) => name), bindings: bindings.length, changes },
    answer: `All roles and bindings were replaced. Roles: ${said(changes.roles)}. Bindings: ${said(changes.bindings)}.`,
  };
}

type Changes = Record<'added' | 'changed' | 'removed' | 'kept', number>;

/** How many of what there was and what is to be are one thing, by `idOf`, and alike. */
function changesOf<T>(before: readonly T[], after: readonly T[], idOf: (one: T) => string): Changes {
  const byId = new Map(before.map((one) => [idOf(one), one]));
  const known = after.filter((one) => byId.has(idOf(one)));
  const kept = known.filter((one) => isDeepStrictEqual(byId.get(idOf(one)), one)).length;
  return {
    added: after.length - known.length,
    changed: known.length - kept,
    removed: before.length - known.length,
    kept,
  };
}

/** A binding that was there before was made then. */
function sinceBefore(bindings: readonly RoleBinding[], before: readonly RoleBinding[]): readonly RoleBinding[] {
  const byId = new Map(before.map((binding) => [binding.binding_id, binding]));
  return bindings.map((binding) => {
    const { created_at } = byId.get(binding.binding_id) ?? binding;
    return created_at === undefined ? binding : { ...binding, created_at };
  });
}

function said({ added, changed, removed, kept }: Changes): string {
  return `${added} added, ${changed} changed, ${removed} removed, ${kept} as before`;
}

function upstreamsOf({ servers }: ConfigSnapshotOptions): SnapshotUpstream[] {
  return servers().map(({ id, upstream, transport }) => ({ id, url: upstream ?? null, transport }));
}

function canonicalUpstreams(upstreams: readonly SnapshotUpstream[]): string {
  return JSON.stringify(upstreams.map(({ id, url, transport }) => [id, url, transport]).sort());
}
