/** What a capability's limits cost a call: each is counted under the link that says so, whoever presents a chain with it. */
import type { Spend } from '../core/audit-event.ts';
import type { Charge } from '../core/limit.ts';
import type { Authority } from './authority.ts';

/** What is counted before the call is looked at any further: `rate_limit`. */
export function rateCharges(authority: Authority | undefined): Charge[] {
  return (authority?.limits ?? []).flatMap(({ kind, id, count, burst, perSec }) =>
    kind === 'rate_limit'
      ? [{ kind: 'capability' as const, who: id, rate: { count, burst, periodMs: perSec * 1000 } }]
      : [],
  );
}

/** What is counted with the record that says that the call is about to be made: `max_calls`. */
export function spendsOf(authority: Authority | undefined): Spend[] {
  if (authority === undefined) return [];
  const { limits, capability } = authority;
  return limits
    .filter(({ kind }) => kind === 'max_calls')
    .map(({ id, count }) => ({
      linkHash: id,
      max: count,
      expiresAtSec: capability.links.find(({ hash }) => hash === id)?.expiresAtSec ?? capability.expiresAtSec,
    }));
}
