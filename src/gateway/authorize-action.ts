/** May the caller do one of the gateway's own actions, such as reading events? Refusals of known callers are recorded. */
import type { Denial } from '../core/denial.ts';
import { rateLimited, type TakeCharges } from '../core/limit.ts';
import type { RoleScope } from '../core/role-scope.ts';
import { type SurfaceId, surfaceOf } from '../core/surfaces.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { decideAction, type PolicyMode } from '../policy/decide.ts';
import { rateCharges, spendsOf } from '../policy/limits.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import type { Refuse } from './refusal.ts';

export interface AuthorizeActionOptions {
  readonly policyMode: PolicyMode;
  readonly refuse: Refuse;
  readonly take: TakeCharges;
  readonly telemetry: Telemetry;
}

/** `scopes` are those of roles that the request lies in beside the caller's team, such as the secret that it names. */
export type AuthorizeAction = (
  surfaceId: SurfaceId,
  caller: Caller,
  facts: RequestFacts,
  scopes?: readonly RoleScope[],
) => Promise<void>;

/** Resolves when the caller may; otherwise throws as `Refuse` does, or `RATE_LIMITED` when the capability is used too often. */
export function createAuthorizeAction(options: AuthorizeActionOptions): AuthorizeAction {
  const { policyMode, refuse, take, telemetry } = options;
  return async (surfaceId, caller, facts, scopes = []) => {
    const denial = judge(surfaceId, caller, policyMode, scopes);
    telemetry.decided(denial);
    if (denial !== undefined) await refuse(surfaceId, denial, caller, facts);
    const charges = rateCharges(caller.authority);
    if (charges.length === 0) return;
    const verdict = await take(charges);
    if (!verdict.admitted) throw rateLimited(charges, verdict);
  };
}

function judge(
  surfaceId: SurfaceId,
  caller: Caller,
  mode: PolicyMode,
  scopes: readonly RoleScope[],
): Denial | undefined {
  const { action, method } = surfaceOf(surfaceId);
  if (action === undefined) throw new Error(`The surface ${surfaceId} has no action to authorise.`);
  if (caller.denial !== undefined) return caller.denial;
  // A capability that is presented beside the secret is enforced, as everywhere.
  if (caller.isAdmin && caller.authority === undefined && action.startsWith('admin.')) return undefined;
  // Uses are counted with the intents of tool calls, and there is none here.
  if (spendsOf(caller.authority).length > 0) return constraintDenial('constraint:max_calls');
  const decision = decideAction(action, method === 'GET' ? 'read' : 'write', caller, mode, scopes);
  return decision.allow ? undefined : decision.denial;
}
