/** How often a tool server may be asked: what its entry and every link of the capability say, whichever way a request takes. */
import { TalosError } from '../core/errors.ts';
import { rateLimited, type TakeCharges } from '../core/limit.ts';
import type { McpServer } from '../mcp/registry.ts';
import { rateCharges } from '../policy/limits.ts';
import type { Caller } from './caller.ts';

/** The error of a request too many, or of limits that cannot be looked up. */
export async function overLimit(
  take: TakeCharges,
  caller: Caller,
  { id, spec }: Pick<McpServer, 'id' | 'spec'>,
): Promise<TalosError | undefined> {
  const { principal, authority, accountId } = caller;
  const who = accountId ?? (principal.authMode === 'bearer' ? principal.id : '');
  const ofServer =
    spec.rateLimit === undefined ? [] : [{ kind: 'server' as const, who: `${id} ${who}`, rate: spec.rateLimit }];
  const charges = [...ofServer, ...rateCharges(authority)];
  if (charges.length === 0) return undefined;
  try {
    const verdict = await take(charges);
    return verdict.admitted ? undefined : rateLimited(charges, verdict);
  } catch (error) {
    if (error instanceof TalosError) return error;
    throw error;
  }
}
