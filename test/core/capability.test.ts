import { describe, expect, it } from 'vitest';
import { checkValidityNow, type VerifiedCapability, verifyCapability } from '../../src/core/capability.ts';
import { decodeCapability } from '../../src/core/capability-claims.ts';
import { delegateCapability, grantCapability } from '../../src/core/capability-grant.ts';
import { type Denial, isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import { TalosError } from '../../src/core/errors.ts';
import { anyValue } from '../../src/core/scope.ts';
import { chainOf, childToken, holders, rootToken } from '../support/delegation.ts';
import {
  goodClaims,
  jwsOf,
  signedText,
  strangeIssuer,
  testNowSec,
  tokenOfText,
  tokenWith,
  trustedIssuer,
} from '../support/issuer.ts';
import { wrongTokens } from '../support/wrong-tokens.ts';

const options = {
  trustedIssuers: didSet([trustedIssuer.did]),
  nowSec: testNowSec,
  skewSec: 60,
  tokenCharsMax: 16 * 1024,
};

async function accepted(token: string, nowSec = testNowSec): Promise<VerifiedCapability> {
  const result = await verifyCapability(token, { ...options, nowSec });
  if (isDenial(result)) throw new Error(`denied: ${result.reason} ${result.detail}`);
  return result;
}

async function refused(token: string, changes: Partial<typeof options> = {}): Promise<Denial> {
  const result = await verifyCapability(token, { ...options, ...changes });
  if (!isDenial(result)) throw new Error('accepted');
  return result;
}

describe('verifyCapability', () => {
  it('accepts a good token and says what is in it', async () => {
    const token = tokenWith({ constraints: { team_id: 'red', method: 'get_forecast' }, nbf: testNowSec - 50 });
    const link = {
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      issuer: trustedIssuer.did,
      subject: 'did:talos:agent',
      teamId: 'red',
      scopes: [{ server: 'weather', method: 'get_forecast' }],
      constraints: { team_id: 'red', method: 'get_forecast' },
      issuedAtSec: testNowSec - 100,
      notBeforeSec: testNowSec - 50,
      expiresAtSec: testNowSec + 3_500,
    };
    const { teamId, ...own } = { ...link };
    const capability = await accepted(token);
    expect(capability).toEqual({
      ...own,
      teamId,
      requiresPossession: false,
      ancestors: [capability.hash],
      links: [{ ...own, hash: capability.hash }],
    });
  });

  it('puts a token without a team into the default one', async () => {
    expect((await accepted(tokenWith())).teamId).toBe('default');
  });

  it('trusts an issuer in either spelling of its key', async () => {
    const otherSpelling = [...options.trustedIssuers].find((did) => did !== trustedIssuer.did) ?? '';
    expect((await accepted(tokenWith({ iss: otherSpelling }))).issuer).toBe(otherSpelling);
  });

  it('gives one token one hash, however its JSON is laid out', async () => {
    const { object } = decodeCapability(tokenWith(), 10_000) as { object: object };
    const laidOut = tokenOfText(JSON.stringify(Object.fromEntries(Object.entries(object).reverse()), undefined, 2));
    expect((await accepted(laidOut)).hash).toBe((await accepted(tokenWith())).hash);
  });

  it('gives every signature its own hash', async () => {
    const other = tokenWith({ sub: 'did:talos:other' });
    expect((await accepted(other)).hash).not.toBe((await accepted(tokenWith())).hash);
  });

  it('minds nulls and fractions as values only, not as text', async () => {
    const constraints = { a: 'null', b: '1.5', c: '"null', d: '\\"-0', null: true };
    expect((await accepted(tokenWith({ constraints }))).constraints).toEqual(constraints);
  });

  it('reads several scopes', async () => {
    const { scopes } = await accepted(tokenWith({ scope: 'tool:git tool:*/method:ping' }));
    expect(scopes).toEqual([{ server: 'git' }, { server: anyValue, method: 'ping' }]);
  });

  it('reads the older spelling of a scope', async () => {
    const older = tokenWith({ scope: 'tools/call', constraints: { tool: 'weather', method: 'get_forecast' } });
    expect((await accepted(older)).scopes).toEqual([{ server: 'weather', method: 'get_forecast' }]);
  });

  it.each([
    {},
    { tool: 'weather' },
    { method: 'get_forecast' },
    { tool: 'weather', method: 7 },
    { tool: ['weather'], method: 'get_forecast' },
  ])('finds no meaning in the older spelling with %o', async (constraints) => {
    const denial = await refused(tokenWith({ scope: 'tools/call', constraints }));
    expect(denial).toMatchObject({ reason: 'SCOPE_MISMATCH', detail: 'scope_malformed' });
  });

  it('accepts an empty delegation chain', async () => {
    expect((await accepted(tokenWith({ delegatable: true, delegation_chain: [] }))).subject).toBe('did:talos:agent');
  });

  it.each(wrongTokens)('refuses: $name', async ({ token, reason, detail }) => {
    const denial = await refused(token);
    expect(denial.reason).toBe(reason);
    expect(denial.detail).toBe(detail);
  });

  it('tells the outside nothing but the reason', async () => {
    for (const { token } of wrongTokens) {
      const { message } = await refused(token);
      expect(message).toMatch(/^[A-Z][a-z ,']+\.$/);
      expect(message.length).toBeLessThan(80);
    }
  });

  it('trusts nobody when nobody is configured', async () => {
    const denial = await refused(tokenWith(), { trustedIssuers: new Set() });
    expect(denial).toMatchObject({ reason: 'SIGNATURE_INVALID', detail: 'issuer_untrusted' });
  });

  it('refuses an issuer that was configured but does not resolve', async () => {
    const token = tokenOfText(signedText(goodClaims({ iss: 'issuer' })));
    const denial = await refused(token, { trustedIssuers: new Set(['issuer']) });
    expect(denial.detail).toBe('signature_wrong');
  });

  it('says nothing about times or scope before the signature is known to be good', async () => {
    const forged = tokenOfText(signedText(goodClaims({ exp: 1, scope: 'nonsense' }), strangeIssuer));
    expect((await refused(forged)).detail).toBe('signature_wrong');
  });

  it('judges the clock before the scope', async () => {
    expect((await refused(tokenWith({ iat: 0, exp: 1, scope: 'nonsense' }))).reason).toBe('EXPIRED');
  });
});

describe('times, with a skew of 60 seconds both ways', () => {
  it.each([
    ['the last second of the skew after expiry', { exp: testNowSec - 59 }],
    ['the first second of the skew before issue', { iat: testNowSec + 60 }],
    ['the first second of the skew before its start', { nbf: testNowSec + 60 }],
    ['a start in a constraint', { constraints: { nbf: testNowSec + 60 } }],
  ])('accepts %s', async (_, changes) => {
    expect(await accepted(tokenWith(changes))).toHaveProperty('subject');
  });

  it('takes the later of two starts', async () => {
    const late = { nbf: testNowSec + 61 };
    expect((await refused(tokenWith({ nbf: testNowSec, constraints: late }))).detail).toBe('not_yet_valid');
    expect((await refused(tokenWith({ ...late, constraints: { nbf: testNowSec } }))).detail).toBe('not_yet_valid');
  });

  it('is the same rule for a token that is remembered', async () => {
    const remembered = await accepted(tokenWith({ exp: testNowSec + 10, nbf: testNowSec }));
    expect(checkValidityNow(remembered, testNowSec + 69, 60)).toBeUndefined();
    expect(checkValidityNow(remembered, testNowSec + 70, 60)).toMatchObject({ reason: 'EXPIRED' });
    expect(checkValidityNow(remembered, testNowSec - 61, 60)).toMatchObject({ detail: 'not_yet_valid' });
    expect(checkValidityNow(remembered, testNowSec - 161, 60)).toMatchObject({ detail: 'issued_in_future' });
  });
});

describe('grantCapability', () => {
  const grant = {
    privateKey: trustedIssuer.privateKey,
    issuer: trustedIssuer.did,
    subject: 'did:talos:agent',
    scope: 'tool:weather',
    nowSec: testNowSec,
    ttlSec: 3_600,
  };

  it('makes tokens that verify', async () => {
    const token = grantCapability({ ...grant, constraints: { paths: ['/docs/**'] }, delegatable: false });
    expect(await accepted(token)).toMatchObject({
      scopes: [{ server: 'weather' }],
      constraints: { paths: ['/docs/**'] },
      issuedAtSec: testNowSec,
      expiresAtSec: testNowSec + 3_600,
    });
  });

  it.each([
    ['an empty subject', { subject: '' }],
    ['a reserved subject', { subject: 'anonymous' }],
    ['an empty scope', { scope: '' }],
    ['a null constraint', { constraints: { method: null } }],
    ['a fraction', { constraints: { max_calls: 0.5 } }],
    ['a time that is no whole second', { nowSec: testNowSec + 0.5 }],
    ['a life beyond the calendar', { ttlSec: 1e12 }],
  ])('does not sign %s', (_, changes) => {
    expect(() => grantCapability({ ...grant, ...changes })).toThrow(TalosError);
  });
});

describe('the forms of a token', () => {
  const until = { exp: testNowSec + 3_500 };
  const subject = holders[0].did;

  it('reads the published schema: tool → server, actions → tools', async () => {
    const claims = {
      version: '1.0',
      issuer: trustedIssuer.did,
      subject,
      scope: [
        { tool: 'files', actions: ['read', 'a:b*'] },
        { tool: 'git', actions: ['log'] },
      ],
      ...until,
      nonce: 'unique-nonce-12345678',
      metadata: { purpose: 'a test', constraints: { read_only: true } },
    };
    const token = tokenOfText(signedText(claims, trustedIssuer, 'signature'));
    expect(await accepted(token)).toMatchObject({
      id: 'unique-nonce-12345678',
      subject,
      scopes: [
        { server: 'files', method: 'read' },
        { server: 'files', method: 'a:b*' },
        { server: 'git', method: 'log' },
      ],
      constraints: { read_only: true },
      issuedAtSec: 0,
    });
  });

  it('takes a star in the published schema for a name and not for a wildcard', async () => {
    const claims = { version: '1.0', issuer: trustedIssuer.did, subject, ...until, nonce: 'unique-nonce-12345678' };
    const tokenFor = (tool: string) =>
      tokenOfText(signedText({ ...claims, scope: [{ tool, actions: ['*'] }] }, trustedIssuer, 'signature'));
    expect((await accepted(tokenFor('files'))).scopes).toEqual([{ server: 'files', method: '*' }]);
    expect(await refused(tokenFor('*'))).toMatchObject({ detail: 'scope_malformed' });
  });

  it('reads the form of the protocol text, with its times', async () => {
    const claims = {
      id: 'cap_0123456789abcdef01234567',
      version: 1,
      issuer: trustedIssuer.did,
      subject: 'did:talos:agent',
      scope: 'tool:weather',
      issued_at: '2023-11-14T23:13:20.250+01:00',
      expires_at: '2023-11-14T23:13:20Z',
      constraints: {},
      delegatable: false,
      delegation_chain: [],
    };
    expect(await accepted(tokenOfText(signedText(claims, trustedIssuer, 'signature')))).toMatchObject({
      id: claims.id,
      issuedAtSec: 1_700_000_000,
      expiresAtSec: 1_700_003_600,
    });
  });

  it('reads a compact JWS', async () => {
    const token = jwsOf({ ...goodClaims(), jti: 'one', aud: 'talos-gateway' }, { alg: 'EdDSA', typ: 'JWT', kid: 'k' });
    expect(await accepted(token)).toMatchObject({ id: 'one', subject: 'did:talos:agent' });
    expect((await accepted(token)).hash).not.toBe((await accepted(tokenWith())).hash);
  });
});

describe('delegation', () => {
  const [first, second] = holders;

  it('accepts three links and knows all of them', async () => {
    const capability = await accepted(chainOf(3));
    expect(capability.links.map(({ subject }) => subject)).toEqual(holders.map(({ did }) => did));
    expect(capability.ancestors).toEqual(capability.links.map(({ hash }) => hash));
    expect(capability.hash).toBe(capability.ancestors.at(-1));
  });

  it('reads the same chain whether its parents are named once or again', async () => {
    const root = rootToken();
    const mid = childToken(first, [root], { sub: second.did, delegatable: true });
    const bare = childToken(first, [], { sub: second.did, delegatable: true });
    const chains = [[mid], [root, mid], [root, bare]].map((parents) => childToken(second, parents));
    for (const token of chains) {
      expect((await accepted(token)).links.map(({ issuer }) => issuer)).toEqual([
        trustedIssuer.did,
        first.did,
        second.did,
      ]);
    }
  });

  it('accepts an issuer in the other spelling of the subject', async () => {
    const sub = [...didSet([first.did])].find((did) => did !== first.did) ?? '';
    expect((await accepted(childToken(first, [rootToken({ sub })]))).issuer).toBe(first.did);
  });

  it('ends with its shortest link and begins with its latest', async () => {
    const root = rootToken({ exp: testNowSec + 50, nbf: testNowSec - 5 });
    const child = childToken(first, [root], { exp: testNowSec + 40, constraints: { nbf: testNowSec - 7 } });
    expect(await accepted(child)).toMatchObject({ expiresAtSec: testNowSec + 40, notBeforeSec: testNowSec - 5 });
  });

  it.each([
    ['the last link', {}, { constraints: { bearer: false } }],
    ['the root', { constraints: { bearer: false } }, {}],
  ])('demands possession when %s does', async (_, ofRoot, ofChild) => {
    expect((await accepted(childToken(first, [rootToken(ofRoot)], ofChild))).requiresPossession).toBe(true);
  });

  it('lets a child narrow every team to one', async () => {
    const root = rootToken({ constraints: { team_id: '*' } });
    expect((await accepted(childToken(first, [root], { constraints: { team_id: 'red' } }))).teamId).toBe('red');
    expect((await accepted(childToken(first, [root]))).teamId).toBe('default');
  });

  it('trusts a link that was signed by a trusted issuer no more than any other', async () => {
    const token = tokenOfText(signedText({ ...goodClaims(), delegation_chain: [rootToken()] }));
    expect(await refused(token)).toMatchObject({ reason: 'DELEGATION_INVALID', detail: 'issuer_not_subject' });
  });
});

describe('delegateCapability', () => {
  const [first, second, third] = holders;
  const terms = { subject: second.did, nowSec: testNowSec, ttlSec: 100_000, privateKey: first.privateKey };

  it('makes a child that verifies, for the same team and no longer than its parent', async () => {
    const parent = rootToken({ constraints: { team_id: 'red', paths: ['/a/**'] } });
    const child = await accepted(delegateCapability({ ...terms, parent, constraints: { read_only: true } }));
    expect(child).toMatchObject({ teamId: 'red', expiresAtSec: testNowSec + 3_500, subject: second.did });
    expect(child.links.map(({ constraints }) => constraints)).toEqual([
      { team_id: 'red', paths: ['/a/**'] },
      { team_id: 'red', read_only: true },
    ]);
  });

  it('passes a child on', async () => {
    const parent = delegateCapability({ ...terms, parent: rootToken(), delegatable: true });
    const token = delegateCapability({
      ...terms,
      parent,
      privateKey: second.privateKey,
      subject: third.did,
      scope: 'tool:weather/method:get_forecast',
    });
    expect((await accepted(token)).links).toHaveLength(3);
  });

  it.each([
    ['a parent that is none', { parent: 'nonsense' }],
    ['a parent that may not be passed on', { parent: rootToken({ delegatable: false }) }],
    ['the key of somebody else', { privateKey: third.privateKey }],
    ['a wider scope', { scope: 'tool:*' }],
    ['another team', { parent: rootToken({ constraints: { team_id: 'red' } }), constraints: { team_id: 'blue' } }],
    ['the fourth link', { parent: chainOf(3), privateKey: holders[3].privateKey }],
  ])('does not sign %s', (_, changes) => {
    expect(() => delegateCapability({ ...terms, parent: rootToken(), ...changes })).toThrow(TalosError);
  });
});
