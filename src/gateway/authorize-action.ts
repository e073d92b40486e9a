/** May the caller do one of the gateway's own actions, such as reading events? Refusals of known callers are recorded. */
import type { Denial } from '../core/denial.ts';
import { type SurfaceId, surfaceOf } from '../core/surfaces.ts';
import { decideAction, type PolicyMode } from '../policy/decide.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import type { Refuse } from './refusal.ts';

export interface AuthorizeActionOptions {
  readonly policyMode: PolicyMode;
  readonly refuse: Refuse;
  readonly telemetry: Telemetry;
}

export type AuthorizeAction = (surfaceId: SurfaceId, caller: Caller, facts: RequestFacts) => Promise<void>;

/** Resolves when the caller may; otherwise throws as `Refuse` does. */
export function createAuthorizeAction(options: AuthorizeActionOptions): AuthorizeAction {
  const { policyMode, refuse, telemetry } = options;
  return async (surfaceId, caller, facts) => {
    const denial = judge(surfaceId, caller, policyMode);
    telemetry.decided(denial);
    if (denial !== undefined) await refuse(surfaceId, denial, caller, facts);
  };
}

function judge(surfaceId: SurfaceId, caller: Caller, mode: PolicyMode): Denial | undefined {
  const { action, method } = surfaceOf(surfaceId);
  if (action === undefined) throw new Error(`The surface ${surfaceId} has no action to authorise.`);
  if (caller.denial !== undefined) return caller.denial;
  // A capability that is presented beside the secret is enforced, as everywhere.
  if (caller.isAdmin && caller.authority === undefined && action.startsWith('admin.')) return undefined;
  const decision = decideAction(action, method === 'GET' ? 'read' : 'write', caller.authority, mode);
  return decision.allow ? undefined : decision.denial;
}
