import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type VerifiedCapability, verifyCapability } from '../../src/core/capability.ts';
import { grantCapability } from '../../src/core/capability-grant.ts';
import { type Denial, denialReasons, isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { chainOf, childToken, rootToken } from '../support/delegation.ts';
import { testNowSec, tokenOfText, tokenWith, trustedIssuer } from '../support/issuer.ts';

const trustedIssuers = didSet([trustedIssuer.did]);
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function verify(token: string): Promise<VerifiedCapability | Denial> {
  return verifyCapability(token, { trustedIssuers, nowSec: testNowSec, skewSec: 60, tokenCharsMax: 16 * 1024 });
}

async function expectDenial(token: string): Promise<void> {
  const result = await verify(token);
  if (!isDenial(result)) throw new Error(`accepted: ${token}`);
  expect(denialReasons).toContain(result.reason);
}

const good = tokenWith({ constraints: { paths: ['/docs/**'], team_id: 'red' } });

describe('a token that was changed', () => {
  it('never verifies with any single bit flipped', async () => {
    const bytes = Buffer.from(good, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await expectDenial(changed.toString('base64url'));
    }
  });

  it('never verifies with a character replaced', async () => {
    const index = fc.nat({ max: good.length - 1 });
    await fc.assert(
      fc.asyncProperty(index, fc.constantFrom(...alphabet, '=', '+', '/', ' ', 'é'), async (at, character) => {
        fc.pre(good.charAt(at) !== character);
        await expectDenial(good.slice(0, at) + character + good.slice(at + 1));
      }),
      { numRuns: 2_000 },
    );
  });

  it('never verifies with characters removed', async () => {
    const index = fc.nat({ max: good.length - 1 });
    await fc.assert(
      fc.asyncProperty(index, fc.integer({ min: 1, max: 40 }), async (at, count) => {
        await expectDenial(good.slice(0, at) + good.slice(at + count));
      }),
      { numRuns: 500 },
    );
  });
});

describe('a chain that was changed', () => {
  it('never verifies with any single bit flipped, of whichever link', async () => {
    const chain = chainOf(2);
    const bytes = Buffer.from(chain, 'base64url');
    const bit = fc.nat({ max: bytes.length * 8 - 1 });
    await fc.assert(
      fc.asyncProperty(bit, async (at) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(changed.readUInt8(at >> 3) ^ (1 << (at & 7)), at >> 3);
        await expectDenial(changed.toString('base64url'));
      }),
      { numRuns: 1_500 },
    );
  });

  it('never verifies with the links of two chains mixed', async () => {
    const roots = [rootToken(), rootToken({ scope: 'tool:git' }), rootToken({ exp: testNowSec + 5 })];
    const link = fc.constantFrom(...roots, chainOf(1), chainOf(2), good, 'parent', '');
    await fc.assert(
      fc.asyncProperty(fc.array(link, { minLength: 1, maxLength: 5 }), async (parents) => {
        // Nobody here is the subject of any of them.
        await expectDenial(childToken(trustedIssuer, parents));
      }),
      { numRuns: 200 },
    );
  });
});

describe('what strangers may send', () => {
  it('is denied and never throws: three parts', async () => {
    const part = fc.oneof(
      fc.json().map(tokenOfText),
      fc.constantFrom('', tokenOfText('{"alg":"EdDSA"}'), 'A'.repeat(86)),
    );
    const token = fc.array(part, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('.'));
    await fc.assert(fc.asyncProperty(token, expectDenial), { numRuns: 1_000 });
  });

  it('is denied and never throws: claims of the other forms with wrong values', async () => {
    const names = [
      'version',
      'id',
      'issuer',
      'subject',
      'scope',
      'exp',
      'nonce',
      'issued_at',
      'expires_at',
      'signature',
    ];
    const value = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom('1.0', 1, trustedIssuer.did, testNowSec, 'tool:*', '2023-11-14T22:13:20Z', 'A'.repeat(86)),
      fc.array(fc.record({ tool: fc.string(), actions: fc.array(fc.string()) })),
    );
    const claims = fc.dictionary(fc.constantFrom(...names), value);
    await fc.assert(
      fc.asyncProperty(
        claims.map((object) => tokenOfText(JSON.stringify(object))),
        expectDenial,
      ),
      {
        numRuns: 2_000,
      },
    );
  });

  it('is denied and never throws: text', async () => {
    await fc.assert(fc.asyncProperty(fc.string({ maxLength: 300 }), expectDenial), { numRuns: 2_000 });
  });

  it('is denied and never throws: bytes', async () => {
    const token = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('base64url'));
    await fc.assert(fc.asyncProperty(token, expectDenial), { numRuns: 1_000 });
  });

  it('is denied and never throws: JSON', async () => {
    await fc.assert(fc.asyncProperty(fc.json().map(tokenOfText), expectDenial), { numRuns: 1_000 });
  });

  it('is denied and never throws: claims with wrong values', async () => {
    const wrong = fc.dictionary(
      fc.constantFrom('v', 'iss', 'sub', 'scope', 'iat', 'exp', 'nbf', 'constraints', 'delegation_chain', 'sig', 'id'),
      fc.oneof(fc.jsonValue(), fc.constantFrom('1', trustedIssuer.did, testNowSec, 'tool:*', 'A'.repeat(86))),
    );
    const token = wrong.map((claims) => tokenOfText(JSON.stringify(claims)));
    await fc.assert(fc.asyncProperty(token, expectDenial), { numRuns: 2_000 });
  });
});

describe('what is granted', () => {
  const strictValue = fc.letrec<{ value: JsonObject[string] }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => text.isWellFormed()),
      fc.maxSafeInteger().map((value) => value || 0),
      fc.boolean(),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.string({ maxLength: 8 }), tie('value'), { maxKeys: 3 }),
    ),
  })).value;

  it('verifies, whatever the subject and the constraints are', async () => {
    const subject = fc.stringMatching(/^[a-zA-Z0-9:._@ é☃-]{1,60}$/);
    const constraints = fc.dictionary(fc.stringMatching(/^[a-su-z_]{1,10}$/), strictValue, { maxKeys: 5 });
    await fc.assert(
      fc.asyncProperty(subject, constraints, async (sub, given) => {
        fc.pre(!('nbf' in given));
        const token = grantCapability({
          privateKey: trustedIssuer.privateKey,
          issuer: trustedIssuer.did,
          subject: sub,
          scope: 'tool:weather',
          constraints: given,
          nowSec: testNowSec,
          ttlSec: 60,
        });
        expect(await verify(token)).toMatchObject({ subject: sub, issuer: trustedIssuer.did });
      }),
      { numRuns: 200 },
    );
  });
});
