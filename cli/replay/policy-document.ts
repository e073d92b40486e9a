/**
 * A policy to judge recorded calls by, as a document: the export of the configuration, or its parts by themselves (`roles`
 * and `bindings`), the list of API keys as the administration shows it (`api_keys`), and the policies of teams likewise
 * (`policies`).
 */
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { systemClock } from '../../src/core/clock.ts';
import { describeError, TalosError } from '../../src/core/errors.ts';
import { adminUser } from '../../src/core/principal.ts';
import type { TeamPolicy } from '../../src/core/team-policy.ts';
import { bookOf, type RoleSnapshot } from '../../src/gateway/manage-roles.ts';
import { KeptRole, NewBindings } from '../../src/http/routes/admin/rbac-schemas.ts';
import type { ReplayedKey, ReplayPolicy } from '../../src/policy/replay.ts';
import { roleViewOf } from '../../src/policy/roles.ts';
import { policyViewOf } from '../../src/policy/team-policies.ts';
import { UsageError } from '../usage-error.ts';

const Text = Type.String({ minLength: 1 });
const Roles = { roles: Type.Array(KeptRole), bindings: Type.Array(NewBindings) };

const Key = Type.Object({
  id: Text,
  permissions: Type.Array(Text),
  status: Type.Optional(Type.String()),
  replaces: Type.Optional(Text),
});

const Policy = Type.Object({
  id: Type.Optional(Text),
  team_id: Text,
  allowed_servers: Type.Optional(Type.Array(Text)),
  allowed_tools: Type.Optional(Type.Record(Type.String(), Type.Array(Text))),
  deny_by_default: Type.Optional(Type.Boolean()),
});

const document = Compile(
  Type.Object({
    rbac: Type.Optional(Type.Object(Roles)),
    roles: Type.Optional(Roles.roles),
    bindings: Type.Optional(Roles.bindings),
    api_keys: Type.Optional(Type.Array(Key)),
    policies: Type.Optional(Type.Array(Policy)),
  }),
);

/** `where` names the document in complaints. Throws a `UsageError` for what is no policy, or says nothing of one. */
export function policyIn(value: unknown, where: string): Pick<ReplayPolicy, 'roles' | 'apiKeys' | 'policies'> {
  if (!document.Check(value)) {
    const [fault] = document.Errors(value);
    throw new UsageError(`${where} is no policy: ${fault?.instancePath || 'the document'} ${fault?.message ?? ''}.`);
  }
  const { rbac, roles = [], bindings, api_keys: keys, policies } = value;
  const snapshot = rbac ?? (bindings === undefined ? undefined : { roles, bindings });
  if (snapshot === undefined && keys === undefined && policies === undefined) {
    throw new UsageError(`${where} says nothing that calls could be judged by: rbac, bindings, api_keys or policies.`);
  }
  return {
    ...(snapshot === undefined ? {} : { roles: roleView(snapshot, where) }),
    ...(keys === undefined ? {} : { apiKeys: keys.map(keyIn) }),
    ...(policies === undefined ? {} : { policies: policyViewOf(policies.map(teamPolicyIn)) }),
  };
}

function roleView(snapshot: RoleSnapshot, where: string) {
  const rules = { policyMode: { development: false, requireCapability: true }, clock: systemClock };
  try {
    return roleViewOf(
      bookOf(rules, { principal: adminUser, isAdmin: true, authority: undefined, denial: undefined }, snapshot),
    );
  } catch (error) {
    if (!(error instanceof TalosError)) throw error;
    throw new UsageError(`${where} is no policy: ${describeError(error)}`);
  }
}

function keyIn({
  id,
  permissions,
  status,
  replaces,
}: {
  id: string;
  permissions: string[];
  status?: string;
  replaces?: string;
}): ReplayedKey {
  return { id, permissions, isRevoked: status === 'revoked', replaces };
}

/** What an administrator who says no more would get. */
function teamPolicyIn(given: Static<typeof Policy>): TeamPolicy {
  const { id = '', team_id, allowed_servers = [], allowed_tools = {}, deny_by_default = true } = given;
  return { id, team_id, allowed_servers, allowed_tools, deny_by_default, require_approval: {} };
}
