/** A session that is somebody else's does not exist for a caller, and that they tried is on record. */
import { deny } from '../../../core/denial.ts';
import { TalosError } from '../../../core/errors.ts';
import type { SurfaceId } from '../../../core/surfaces.ts';
import type { Caller, RequestFacts } from '../../caller.ts';
import type { Refuse } from '../../refusal.ts';

/** Throws `SESSION_NOT_FOUND` once the denial is on record; `AUDIT_UNAVAILABLE` when it cannot be. */
export async function refuseSession(
  refuse: Refuse,
  surfaceId: SurfaceId,
  { caller, facts }: { readonly caller: Caller; readonly facts: RequestFacts },
): Promise<never> {
  const auditRef = await recordOf(refuse(surfaceId, deny('SCOPE_MISMATCH', 'session'), caller, facts));
  throw new TalosError('SESSION_NOT_FOUND', auditRef === undefined ? {} : { auditRef });
}

/** The record of a refusal; undefined where strangers leave none. */
async function recordOf(refused: Promise<never>): Promise<string | undefined> {
  try {
    return await refused;
  } catch (error) {
    // No record, no answer.
    if (error instanceof TalosError && error.details?.['denial_reason'] !== undefined) return error.auditRef;
    throw error;
  }
}
