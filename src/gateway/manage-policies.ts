/** Policies of teams as administrators see and change them. */
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import { recordName } from '../core/record-name.ts';
import { policyProblems, type StoredPolicy, type TeamPolicy } from '../core/team-policy.ts';
import { uuidv7 } from '../core/uuidv7.ts';
import type { TeamPolicies } from '../policy/team-policies.ts';
import { type Administer, type Administered, type AdminRequest, conflict } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';

/** What a policy may be given; what is absent is as in the public schema. */
export type PolicyFields = Partial<Omit<TeamPolicy, 'id'>>;

export interface ManagePolicies {
  /** Ordered by team and id; of one team, without those of every team, when it is named. */
  readonly list: (request: AdminRequest, teamId?: string) => Promise<readonly StoredPolicy[]>;
  /** Throws `NOT_FOUND`, as do those below. */
  readonly get: (request: AdminRequest, policyId: string) => Promise<StoredPolicy>;
  /** Throws `INVALID_REQUEST`, or `CONFLICT` when the id is taken or there are too many. */
  readonly add: (
    request: AdminRequest,
    fields: PolicyFields & Pick<TeamPolicy, 'team_id'> & { readonly id?: string },
  ) => Promise<Administered<StoredPolicy>>;
  /** Replaces what `patch` names. Throws `INVALID_REQUEST`, or `CONFLICT` when it is not at `expectedVersion`. */
  readonly change: (
    request: AdminRequest,
    policyId: string,
    patch: PolicyFields,
    expectedVersion?: number,
  ) => Promise<Administered<StoredPolicy>>;
  readonly remove: (request: AdminRequest, policyId: string) => Promise<Administered<string>>;
}

export interface ManagePoliciesOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly policies: TeamPolicies;
  readonly clock: Pick<Clock, 'now'>;
}

export function createManagePolicies(options: ManagePoliciesOptions): ManagePolicies {
  const { authorizeAction, administer, policies, clock } = options;

  /** What puts a policy, when it may be put. */
  function put(policy: TeamPolicy) {
    assertSound(policy);
    return {
      companions: { policies: { kind: 'put' as const, policy } },
      details: { ...policy } as unknown as JsonObject,
      answer: undefined,
    };
  }

  async function shown(id: string, change: Promise<Administered<undefined>>): Promise<Administered<StoredPolicy>> {
    const { auditRef } = await change;
    await seen(policies);
    return { auditRef, answer: found(policies, id) };
  }

  return {
    async list({ caller, facts }, teamId) {
      await authorizeAction('admin.mcp.policies.list', caller, facts);
      return policies.book().policies.filter(({ policy }) => (teamId ?? policy.team_id) === policy.team_id);
    },
    async get({ caller, facts }, policyId) {
      await authorizeAction('admin.mcp.policies.get', caller, facts);
      return found(policies, policyId);
    },
    add(request, { id = uuidv7({ ms: clock.now(), counter: 0 }), ...fields }) {
      const change = administer(request, {
        surfaceId: 'admin.mcp.policies.add',
        resource: resourceOf(id),
        async prepare() {
          await policies.refresh();
          const known = policies.book().policies;
          if (known.some(({ policy }) => policy.id === id)) throw conflict('There is a policy of this id.');
          if (known.length >= bounds.toolPoliciesMax) throw conflict('There are as many policies as a gateway has.');
          return put({ ...absent, ...fields, id });
        },
      });
      return shown(id, change);
    },
    change(request, policyId, patch, expectedVersion) {
      const change = administer(request, {
        surfaceId: 'admin.mcp.policies.change',
        resource: resourceOf(policyId),
        async prepare() {
          await policies.refresh();
          const { policy, version } = found(policies, policyId);
          if (expectedVersion !== undefined && expectedVersion !== version) {
            throw conflict(`The policy is at version ${version}, not ${expectedVersion}.`);
          }
          return put({ ...policy, ...patch, id: policyId });
        },
      });
      return shown(policyId, change);
    },
    async remove(request, policyId) {
      const removed = await administer(request, {
        surfaceId: 'admin.mcp.policies.remove',
        resource: resourceOf(policyId),
        async prepare() {
          await policies.refresh();
          const { policy } = found(policies, policyId);
          const details = { ...policy } as unknown as JsonObject;
          return { companions: { policies: { kind: 'delete', policyId } }, details, answer: policyId };
        },
      });
      await seen(policies);
      return removed;
    },
  };
}

const absent = { allowed_servers: [], allowed_tools: {}, deny_by_default: true, require_approval: {} };

function assertSound(policy: TeamPolicy): void {
  const problems = policyProblems(policy);
  if (JSON.stringify(policy).length > bounds.toolPolicyBytesMax) problems.push('The policy says too much.');
  if (problems.length > 0) throw new TalosError('INVALID_REQUEST', { message: problems.join(' ') });
}

function found(policies: TeamPolicies, policyId: string): StoredPolicy {
  const stored = policies.book().policies.find(({ policy }) => policy.id === policyId);
  if (stored === undefined) throw new TalosError('NOT_FOUND', { message: 'There is no such policy.' });
  return stored;
}

/** The change is made; a gateway that cannot read it now reads it with its next poll. */
async function seen(policies: TeamPolicies): Promise<void> {
  await policies.refresh().catch(() => undefined);
}

function resourceOf(policyId: string) {
  return { type: 'policy', id: recordName(policyId, bounds.recordNameCharsMax) || '-' };
}
