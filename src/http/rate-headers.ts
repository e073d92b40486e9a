/**
 * What a client is told of its limits: the `X-RateLimit-*` that existing clients read, of the limit that is closest, and
 * the RateLimit fields of the IETF (draft-ietf-httpapi-ratelimit-headers), of each.
 */
import type { Charge, Verdict } from '../core/limit.ts';
import { tightest } from '../core/limit.ts';

export const rateHeaderNames = [
  'RateLimit',
  'RateLimit-Policy',
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-RateLimit-Reset',
] as const;

/** The headers of an answer, `nowMs` being Unix time. */
export function rateHeaders(
  charges: readonly Charge[],
  verdict: Verdict,
  nowMs: number,
): Readonly<Record<(typeof rateHeaderNames)[number], string>> {
  const { readings } = verdict;
  const closest = tightest(verdict);
  const reading = readings[closest];
  return {
    RateLimit: listed(charges, (_, at) => `r=${readings[at]?.remaining};t=${seconds(readings[at]?.resetMs ?? 0)}`),
    'RateLimit-Policy': listed(charges, ({ rate }) => {
      return `q=${rate.burst};w=${Math.max(1, seconds((rate.burst * rate.periodMs) / rate.count))}`;
    }),
    'X-RateLimit-Limit': String(charges[closest]?.rate.burst),
    'X-RateLimit-Remaining': String(reading?.remaining),
    'X-RateLimit-Reset': String(seconds(nowMs + (reading?.resetMs ?? 0))),
  };
}

function listed(charges: readonly Charge[], parameters: (charge: Charge, at: number) => string): string {
  return charges.map((charge, at) => `"${charge.kind}";${parameters(charge, at)}`).join(', ');
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}
