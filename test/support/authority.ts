/** Authorities for policy tests, made from real tokens by the real verifier. */
import type { Clock } from '../../src/core/clock.ts';
import { isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { createArgumentSchemas } from '../../src/mcp/tools/argument-schema.ts';
import type { Authority } from '../../src/policy/authority.ts';
import { CapabilityVerifier, type CapabilityVerifierOptions } from '../../src/policy/capability-verifier.ts';
import { testNowSec, tokenWith, trustedIssuer } from './issuer.ts';

/** A clock that stands until it is set. */
export function standingClock(nowSec = testNowSec): Clock & { nowSec: number } {
  return {
    nowSec,
    now() {
      return this.nowSec * 1000;
    },
    monotonic() {
      return this.nowSec * 1000;
    },
  };
}

export function verifierAt(
  clock: Clock,
  more: Pick<CapabilityVerifierOptions, 'entriesMax' | 'revocations'> = {},
): CapabilityVerifier {
  const trustedIssuers = didSet([trustedIssuer.did]);
  return new CapabilityVerifier({ trustedIssuers, clock, compileSchema: createArgumentSchemas(), ...more });
}

export function authorityOf(scope: string, constraints: JsonObject = {}): Promise<Authority> {
  return authorityOfToken(tokenWith({ scope, constraints }));
}

export async function authorityOfToken(token: string): Promise<Authority> {
  const result = await verifierAt(standingClock()).authorityOf(token);
  if (isDenial(result)) throw new Error(`denied: ${result.reason} ${result.detail}`);
  return result;
}
