/** Capability tokens that are good now, for gateways that run on real time. */
import type { UnsignedClaims } from '../../src/core/capability-forms.ts';
import { tokenWith } from './issuer.ts';

export function liveToken(changes: Partial<UnsignedClaims> = {}): string {
  const nowSec = Math.floor(Date.now() / 1000);
  return tokenWith({ iat: nowSec - 100, exp: nowSec + 3_500, ...changes });
}
