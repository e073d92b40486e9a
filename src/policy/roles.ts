/**
 * The roles as this process knows them. Whether they changed is asked all the time, in one row; when nobody can say, what
 * is known is believed for `ageMsMax` and then no more: without roles nothing is allowed by them.
 */
import type { Clock } from '../core/clock.ts';
import type { BearerPrincipal } from '../core/principal.ts';
import { builtInRoles, type Role, type RoleBinding, type RoleBook } from '../core/role.ts';
import { Poller } from '../shared-state/poller.ts';
import type { RoleStore } from '../storage/rbac.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { Grant, RoleView } from './grants.ts';

export interface Roles extends RoleView {
  /** What is known now, built-in roles aside. */
  readonly book: () => RoleBook;
  /** Asks at once, so that a change that was just made is seen. Throws `STORE_UNAVAILABLE`. */
  readonly refresh: () => Promise<void>;
  /** Calls back whenever roles or bindings have changed: judge again then. */
  readonly onChanged: (listener: () => void) => void;
  readonly close: () => Promise<void>;
}

export interface RolesOptions {
  readonly store: RoleStore;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
  readonly pollMs: number;
  readonly ageMsMax: number;
}

/** The roles of a book that stays as it is. */
export function roleViewOf(book: Pick<RoleBook, 'roles' | 'bindings'>): RoleView {
  const byPrincipal = compile(book);
  return { grantsOf: (principal) => grantsIn(byPrincipal, principal) };
}

/** Resolves when the roles were read once; throws `STORE_UNAVAILABLE` when they cannot be. */
export async function startRoles(options: RolesOptions): Promise<Roles> {
  const { store, ageMsMax } = options;
  let book: RoleBook = { version: -1, roles: [], bindings: [] };
  let byPrincipal: GrantsByPrincipal = new Map();
  let hasNews = false;
  const listeners = new Set<() => void>();

  async function ask(): Promise<void> {
    if ((await store.version()) === book.version) return;
    book = await store.load();
    byPrincipal = compile(book);
    hasNews = true;
  }

  // Only when the answer counts, because whoever hears of it judges by it.
  function tell(): void {
    if (!hasNews) return;
    hasNews = false;
    for (const listener of listeners) listener();
  }

  const poller = new Poller({ ...options, subject: 'roles', ask, onAnswer: tell });
  await poller.ask();
  poller.start();
  return {
    grantsOf: (principal) => (poller.ageMs > ageMsMax ? undefined : grantsIn(byPrincipal, principal)),
    book: () => book,
    refresh: () => poller.refresh(),
    onChanged: (listener) => void listeners.add(listener),
    close: () => poller.close(),
  };
}

interface BoundGrant extends Grant {
  readonly team: string | undefined;
}

type GrantsByPrincipal = ReadonlyMap<string, readonly BoundGrant[]>;

function grantsIn(byPrincipal: GrantsByPrincipal, { id, teamId }: BearerPrincipal): readonly Grant[] {
  return (byPrincipal.get(id) ?? []).filter(({ team }) => team === undefined || team === teamId);
}

function compile({ roles, bindings }: Pick<RoleBook, 'roles' | 'bindings'>): GrantsByPrincipal {
  const byId = new Map([...builtInRoles, ...roles].map((role) => [role.role_id, role]));
  return new Map(
    [...Map.groupBy(bindings, ({ principal_id }) => principal_id)].map(([id, bound]) => [
      id,
      bound.flatMap((binding) => grantOf(binding, byId.get(binding.role_id))),
    ]),
  );
}

function grantOf({ binding_id, team_id, scope }: RoleBinding, role: Role | undefined): BoundGrant[] {
  if (role === undefined) return [];
  return [{ bindingId: binding_id, scope, permissions: role.permissions, team: team_id }];
}
