import { describe, expect, it } from 'vitest';
import { isDenial } from '../../src/core/denial.ts';
import { standingClock, verifierAt } from '../support/authority.ts';
import { testNowSec, tokenWith } from '../support/issuer.ts';
import { wrongTokens } from '../support/wrong-tokens.ts';

describe('CapabilityVerifier', () => {
  it('verifies a token once and remembers it', async () => {
    const verifier = verifierAt(standingClock());
    const first = await verifier.authorityOf(tokenWith());
    expect(isDenial(first)).toBe(false);
    expect(await verifier.authorityOf(tokenWith())).toBe(first);
    expect(verifier.stats).toEqual({ size: 1, hits: 1, misses: 1, evictions: 0 });
  });

  it('shares one verification among requests that come at once', async () => {
    const verifier = verifierAt(standingClock());
    const all = await Promise.all(Array.from({ length: 20 }, () => verifier.authorityOf(tokenWith())));
    expect(new Set(all).size).toBe(1);
    expect(verifier.stats).toMatchObject({ size: 1, misses: 20 });
  });

  it('holds nothing that could be presented as the token', async () => {
    const token = tokenWith();
    const { sig } = JSON.parse(Buffer.from(token, 'base64url').toString()) as { sig: string };
    const remembered = JSON.stringify(await verifierAt(standingClock()).authorityOf(token));
    expect(remembered).not.toContain(sig);
    expect(remembered).not.toContain(token);
  });

  it('asks the clock again on every request', async () => {
    const clock = standingClock();
    const verifier = verifierAt(clock);
    const token = tokenWith({ exp: testNowSec + 100 });
    expect(isDenial(await verifier.authorityOf(token))).toBe(false);
    clock.nowSec = testNowSec + 159;
    expect(isDenial(await verifier.authorityOf(token))).toBe(false);
    clock.nowSec = testNowSec + 160;
    expect(await verifier.authorityOf(token)).toMatchObject({ reason: 'EXPIRED' });
    expect(verifier.stats.size).toBe(0);
    expect(await verifier.authorityOf(token)).toMatchObject({ reason: 'EXPIRED' });
  });

  it('asks again when the clock was set back', async () => {
    const clock = standingClock();
    const verifier = verifierAt(clock);
    const token = tokenWith({ nbf: testNowSec });
    expect(isDenial(await verifier.authorityOf(token))).toBe(false);
    clock.nowSec = testNowSec - 61;
    expect(await verifier.authorityOf(token)).toMatchObject({ detail: 'not_yet_valid' });
    clock.nowSec = testNowSec - 161;
    expect(await verifier.authorityOf(token)).toMatchObject({ detail: 'issued_in_future' });
  });

  it('remembers no refusal', async () => {
    const clock = standingClock();
    const verifier = verifierAt(clock);
    const token = tokenWith({ nbf: testNowSec + 100 });
    expect(await verifier.authorityOf(token)).toMatchObject({ detail: 'not_yet_valid' });
    clock.nowSec = testNowSec + 100;
    expect(isDenial(await verifier.authorityOf(token))).toBe(false);
  });

  it.each(wrongTokens)('refuses every time: $name', async ({ token, reason, detail }) => {
    const verifier = verifierAt(standingClock());
    for (let attempt = 0; attempt < 2; attempt++) {
      const denial = await verifier.authorityOf(token);
      expect(denial).toMatchObject({ denied: true, reason });
      expect('detail' in denial ? denial.detail : undefined).toBe(detail);
    }
    expect(verifier.stats).toMatchObject({ size: 0, hits: 0 });
  });

  it('forgets the token that was used longest ago when it is full', async () => {
    const verifier = verifierAt(standingClock(), { entriesMax: 2 });
    const [a, b, c] = ['a', 'b', 'c'].map((sub) => tokenWith({ sub })) as [string, string, string];
    for (const token of [a, b, a, c, a]) await verifier.authorityOf(token);
    expect(verifier.stats).toEqual({ size: 2, hits: 2, misses: 3, evictions: 1 });
    await verifier.authorityOf(b);
    expect(verifier.stats).toMatchObject({ misses: 4, evictions: 2 });
  });
});
