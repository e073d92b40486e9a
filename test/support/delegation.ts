/** Holders of capabilities who pass them on, and chains made by hand. */
import type { UnsignedClaims } from '../../src/core/capability-forms.ts';
import { goodClaims, issuerOfSeed, signedText, type TestIssuer, tokenOfText } from './issuer.ts';

export const holders = ['a1', 'a2', 'a3', 'a4'].map((byte) => issuerOfSeed(byte.repeat(32))) as unknown as readonly [
  TestIssuer,
  TestIssuer,
  TestIssuer,
  TestIssuer,
];

/** A token of the trusted issuer that its subject, the first holder, may pass on. */
export function rootToken(changes: Partial<UnsignedClaims> = {}): string {
  return tokenOfText(
    signedText(goodClaims({ sub: holders[0].did, scope: 'tool:weather', delegatable: true, ...changes })),
  );
}

/** A token that `holder` signs for `subject`, with its parents as they are given. */
export function childToken(
  holder: TestIssuer,
  parents: readonly string[],
  changes: Partial<UnsignedClaims> = {},
): string {
  const claims = goodClaims({ iss: holder.did, sub: 'did:talos:agent', scope: 'tool:weather', ...changes });
  return tokenOfText(signedText({ ...claims, delegation_chain: [...parents] }, holder));
}

/** A chain of the root and as many children as `depth` says, each delegatable, the last for the last holder named. */
export function chainOf(depth: number): string {
  let token = rootToken();
  for (let at = 0; at < depth; at++) {
    const [holder, next] = [holders[at], holders[at + 1]];
    if (holder === undefined) throw new Error('there are four holders');
    token = childToken(holder, [token], { delegatable: true, sub: next?.did ?? 'did:talos:agent' });
  }
  return token;
}
