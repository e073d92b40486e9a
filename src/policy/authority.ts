/** A verified capability with its constraints compiled: what is remembered between requests, and what decisions use. */
import type { VerifiedCapability } from '../core/capability.ts';
import { type CompiledConstraints, compileConstraints } from './constraints.ts';

export interface Authority {
  readonly capability: VerifiedCapability;
  readonly constraints: CompiledConstraints;
}

export function compileAuthority(capability: VerifiedCapability): Authority {
  return { capability, constraints: compileConstraints(capability.constraints) };
}
