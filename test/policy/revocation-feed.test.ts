/** What a gateway knows of revocations, and what it does when it does not know. */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { isDenial } from '../../src/core/denial.ts';
import type { Revocation } from '../../src/core/revocation.ts';
import type { Authority } from '../../src/policy/authority.ts';
import type { CapabilityVerifier } from '../../src/policy/capability-verifier.ts';
import { RevocationFeed } from '../../src/policy/revocation-feed.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { authorityOfToken, standingClock, verifierAt } from '../support/authority.ts';
import { childToken, holders, rootToken } from '../support/delegation.ts';
import { goodClaims, jwsOf, testNowSec, tokenWith } from '../support/issuer.ts';

const { log } = createTelemetry({ level: 'silent' });

const often = { ageMsMax: 1_000, keptAfterEndSec: 86_400 };

/** A table of revocations that can be slow or away. */
class Table {
  readonly rows: (Revocation & { revocationId: number })[] = [];
  isAway = false;
  asked = 0;

  revoke(kind: Revocation['kind'], value: string, endsAtSec?: number): void {
    const ends = endsAtSec === undefined ? {} : { endsAtSec };
    this.rows.push({ kind, value, revocationId: this.rows.length + 1, ...ends });
  }

  readonly after = async (id: number) => {
    this.asked++;
    if (this.isAway) throw new Error('the store is away');
    return this.rows.filter(({ revocationId }) => revocationId > id).slice(0, 2);
  };
}

async function setUp() {
  const table = new Table();
  const clock = standingClock();
  const feed = new RevocationFeed({ after: table.after, clock, log, ...often, pollMs: 3_600_000 });
  await feed.asked();
  return { table, clock, feed, verifier: verifierAt(clock, { revocations: feed }) };
}

async function accepted(verifier: CapabilityVerifier, token: string): Promise<Authority> {
  const authority = await verifier.authorityOf(token);
  if (isDenial(authority)) throw new Error(`denied: ${authority.reason} ${authority.detail}`);
  return authority;
}

describe('a revoked capability', () => {
  it('is denied on the next request, though it is remembered', async () => {
    const { table, feed, verifier } = await setUp();
    const { capability } = await accepted(verifier, tokenWith());
    table.revoke('hash', capability.hash);
    await feed.asked();
    expect(await verifier.authorityOf(tokenWith())).toMatchObject({ reason: 'REVOKED' });
    expect(verifier.stats).toMatchObject({ size: 0, hits: 1 });
    expect(await verifier.authorityOf(tokenWith())).toMatchObject({ reason: 'REVOKED' });
    expect(isDenial(await verifier.authorityOf(tokenWith({ sub: 'somebody else' })))).toBe(false);
  });

  it('is denied by the id that its issuer gave', async () => {
    const { table, feed, verifier } = await setUp();
    const token = jwsOf({ ...goodClaims(), jti: 'lost-laptop' });
    await accepted(verifier, token);
    table.revoke('id', 'lost-laptop');
    await feed.asked();
    expect(await verifier.authorityOf(token)).toMatchObject({ reason: 'REVOKED' });
  });

  it('takes with it all that was derived from it, and nothing above it', async () => {
    const { table, feed, verifier } = await setUp();
    const [first, second] = holders;
    const root = rootToken();
    const mid = childToken(first, [root], { sub: second.did, delegatable: true });
    const leaf = childToken(second, [mid]);
    table.revoke('hash', (await accepted(verifier, mid)).capability.hash);
    await accepted(verifier, leaf);
    await feed.asked();
    expect(await verifier.authorityOf(leaf)).toMatchObject({ reason: 'REVOKED' });
    expect(await verifier.authorityOf(mid)).toMatchObject({ reason: 'REVOKED' });
    expect(isDenial(await verifier.authorityOf(root))).toBe(false);
  });

  it('is forgotten a day after its end, when it is refused for that, and not before; one without an end never', async () => {
    const { table, clock, feed, verifier } = await setUp();
    const { capability } = await accepted(verifier, tokenWith());
    table.revoke('hash', capability.hash, capability.expiresAtSec);
    table.revoke('hash', 'f'.repeat(64));
    table.revoke('id', 'x', capability.expiresAtSec + 10);
    await feed.asked();
    expect(await verifier.authorityOf(tokenWith())).toMatchObject({ reason: 'REVOKED' });
    clock.nowSec = capability.expiresAtSec + 86_400;
    await feed.asked();
    expect(feed.size).toBe(3);
    clock.nowSec += 1_000;
    await feed.asked();
    expect(feed.size).toBe(1);
    expect(await verifier.authorityOf(tokenWith())).toMatchObject({ reason: 'EXPIRED' });
  });

  it('is told to whoever holds a session or a stream', async () => {
    const { table, feed, verifier } = await setUp();
    const authority = await accepted(verifier, tokenWith());
    const heard: unknown[] = [];
    const stop = verifier.onRevoked(() => heard.push(verifier.stillValid(authority)));
    await feed.asked();
    expect(heard).toEqual([]);
    table.revoke('hash', authority.capability.hash);
    await feed.asked();
    expect(heard).toMatchObject([{ reason: 'REVOKED' }]);
    stop();
    table.revoke('hash', 'f'.repeat(64));
    await feed.asked();
    expect(heard).toHaveLength(1);
  });
});

describe('what is known', () => {
  it('is read to the end, page by page', async () => {
    const { table, feed } = await setUp();
    for (let n = 0; n < 5; n++) table.revoke('hash', String(n).repeat(64));
    await feed.asked();
    expect(feed.size).toBe(5);
  });

  it('is freshened by the request itself when it has grown old', async () => {
    const { table, clock, verifier } = await setUp();
    const { capability } = await accepted(verifier, tokenWith());
    table.revoke('hash', capability.hash);
    clock.nowSec += 1;
    expect(isDenial(await verifier.authorityOf(tokenWith()))).toBe(false);
    clock.nowSec += 1;
    expect(await verifier.authorityOf(tokenWith())).toMatchObject({ reason: 'REVOKED' });
  });

  it('denies everything once it is older than a second and the store is away, and says that trying again may help', async () => {
    const { table, clock, verifier } = await setUp();
    const authority = await accepted(verifier, tokenWith());
    table.isAway = true;
    clock.nowSec += 2;
    const denial = { reason: 'REVOKED', detail: 'revocations_unknown', retryable: true };
    expect(await verifier.authorityOf(tokenWith())).toMatchObject(denial);
    expect(await verifier.authorityOf(tokenWith({ sub: 'new' }))).toMatchObject(denial);
    expect(verifier.stillValid(authority)).toMatchObject(denial);
    table.isAway = false;
    expect(await verifier.authorityOf(tokenWith())).toBe(authority);
  });

  it('never forgets a revocation because the store is away', async () => {
    const { table, feed, clock, verifier } = await setUp();
    const { capability } = await accepted(verifier, tokenWith());
    table.revoke('hash', capability.hash);
    await feed.asked();
    table.isAway = true;
    clock.nowSec += 2;
    expect(await verifier.authorityOf(tokenWith())).toMatchObject({ reason: 'REVOKED' });
    expect(verifier.stillValid(await authorityOfToken(tokenWith()))).not.toHaveProperty('retryable');
  });

  it('counts from the question and not from the answer', async () => {
    const clock = standingClock();
    let answer: (rows: []) => void = () => undefined;
    const after = () => new Promise<[]>((resolve) => (answer = resolve));
    const feed = new RevocationFeed({ after, clock, log, ...often, pollMs: 3_600_000 });
    const { capability } = await authorityOfToken(tokenWith({ exp: testNowSec + 9_000 }));
    const asked = feed.asked();
    await setImmediate();
    clock.nowSec += 2;
    answer([]);
    await asked;
    expect(feed.denialOf(capability)).toMatchObject({ detail: 'revocations_unknown' });
  });

  it('does not start without an answer', async () => {
    const table = new Table();
    table.isAway = true;
    const feed = new RevocationFeed({ after: table.after, clock: standingClock(), log, ...often, pollMs: 1 });
    await expect(feed.start()).rejects.toThrow('the store is away');
    await feed.close();
  });
});
