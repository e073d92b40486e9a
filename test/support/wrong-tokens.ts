/**
 * Tokens that no gateway may accept, each wrong in one way and right in every other: where that is possible the
 * signature is the trusted issuer's own, so that nothing but the named fault can be the reason.
 */
import type { UnsignedClaims } from '../../src/core/capability-forms.ts';
import type { DenialReason } from '../../src/core/denial.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { chainOf, childToken, holders, rootToken } from './delegation.ts';
import {
  goodClaims,
  jwsOf,
  signedText,
  strangeIssuer,
  testNowSec,
  tokenOfText,
  tokenWith,
  trustedIssuer,
} from './issuer.ts';

export interface WrongToken {
  readonly name: string;
  readonly token: string;
  readonly reason: DenialReason;
  readonly detail?: string;
}

const goodText = signedText(goodClaims());
const goodToken = tokenOfText(goodText);

function forged(name: string, token: string, detail: string): WrongToken {
  return { name, token, reason: 'SIGNATURE_INVALID', detail };
}

/** A token whose text was changed after signing. */
function edited(name: string, from: string | RegExp, to: string, detail: string): WrongToken {
  const text = goodText.replace(from, to);
  if (text === goodText) throw new Error(`the edit "${name}" changes nothing`);
  return forged(name, tokenOfText(text), detail);
}

/** A token that the trusted issuer signed with claims that are not allowed. */
function signedWith(name: string, changes: object, detail: string): WrongToken {
  return forged(name, tokenOfText(signedText({ ...goodClaims(), ...changes })), detail);
}

function without(claim: keyof UnsignedClaims): WrongToken {
  const { [claim]: _, ...rest } = goodClaims();
  return forged(`no ${claim}`, tokenOfText(signedText(rest)), `claim_missing:${claim}`);
}

const malformedTexts: readonly WrongToken[] = [
  forged('empty', '', 'token_malformed'),
  forged('one blank', ' ', 'token_malformed'),
  forged('not base64url', 'cap_test!', 'token_malformed'),
  forged('a development string', 'cap_test_token', 'token_malformed'),
  forged('padded', `${goodToken}=`, 'token_malformed'),
  forged('standard alphabet', `${goodToken.slice(0, -1)}+`, 'token_malformed'),
  forged('line end', `${goodToken}\n`, 'token_malformed'),
  forged('not JSON', tokenOfText('hello'), 'token_malformed'),
  forged('an array', tokenOfText('[]'), 'token_malformed'),
  forged('a string', tokenOfText('"token"'), 'token_malformed'),
  forged('truncated by a character', goodToken.slice(0, -1), 'token_malformed'),
  forged('truncated by half', goodToken.slice(0, goodToken.length >> 1), 'token_malformed'),
  forged('two tokens', tokenOfText(goodText + goodText), 'token_malformed'),
  forged('a byte order mark', tokenOfText(`\ufeff${goodText}`), 'token_malformed'),
  forged('not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]).toString('base64url'), 'token_malformed'),
  forged('nested too deep', tokenOfText(`${'['.repeat(64)}${']'.repeat(64)}`), 'token_malformed'),
  forged('oversized', 'A'.repeat(16 * 1024 + 1), 'token_too_large'),
  forged('a JWS', 'eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ4In0.c2ln', 'claim_missing:sub'),
  forged('an unsigned JWS', 'eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.', 'jws_header'),
];

const profileFaults: readonly WrongToken[] = [
  edited('a key twice, same value', '"v":"1"', '"v":"1","v":"1"', 'token_malformed'),
  edited('a key twice, by an escape', '"v":"1"', '"v":"1","\\u0076":"1"', 'token_malformed'),
  edited('an integer as a fraction', `"iat":${testNowSec - 100}`, `"iat":${testNowSec - 100}.0`, 'token_malformed'),
  edited('an integer with an exponent', `"iat":${testNowSec - 100}`, '"iat":17e8', 'token_malformed'),
  forged(
    'a negative zero',
    tokenOfText(signedText({ ...goodClaims(), nbf: 0 }).replace('"nbf":0', '"nbf":-0')),
    'token_malformed',
  ),
  signedWith('a null constraint', { constraints: { method: null } }, 'token_malformed'),
  signedWith('a null claim', { nbf: null }, 'token_malformed'),
  signedWith('a fraction', { exp: testNowSec + 0.5 }, 'token_malformed'),
  signedWith('a fraction in a constraint', { constraints: { max_calls: 1.5 } }, 'token_malformed'),
  signedWith('an extra claim', { aud: 'talos-gateway' }, 'claim_unknown'),
  signedWith('a claim named like a prototype', JSON.parse('{"__proto__":{"exp":1}}') as JsonObject, 'claim_unknown'),
  signedWith('another version', { v: '2' }, 'claim_malformed:v'),
  signedWith('a number as version', { v: 1 }, 'claim_malformed:v'),
  signedWith('a time as text', { exp: String(testNowSec + 3_500) }, 'claim_malformed:exp'),
  signedWith('a negative time', { iat: -1 }, 'claim_malformed:iat'),
  signedWith('a time beyond the calendar', { exp: 253_402_300_800 }, 'claim_malformed:exp'),
  signedWith('an empty subject', { sub: '' }, 'claim_malformed:sub'),
  signedWith('a long subject', { sub: 'x'.repeat(201) }, 'claim_malformed:sub'),
  signedWith('a subject with a line end', { sub: 'agent\nadmin' }, 'claim_malformed:sub'),
  signedWith('the subject that nobody is', { sub: 'anonymous' }, 'claim_malformed:sub'),
  signedWith('the subject that the gateway is', { sub: 'gateway' }, 'claim_malformed:sub'),
  signedWith('a list as scope', { scope: ['tool:weather'] }, 'claim_malformed:scope'),
  signedWith('an empty scope', { scope: '' }, 'claim_malformed:scope'),
  signedWith('a list as constraints', { constraints: [] }, 'claim_malformed:constraints'),
  signedWith('a team that is a number', { constraints: { team_id: 7 } }, 'claim_malformed:constraints'),
  signedWith('a start that is a text', { constraints: { nbf: 'now' } }, 'claim_malformed:constraints'),
  signedWith('a text as flag', { delegatable: 'true' }, 'claim_malformed:delegatable'),
  signedWith('a chain that is a text', { delegation_chain: 'parent' }, 'claim_malformed:delegation_chain'),
  edited('a short signature', /"sig":"..../, '"sig":"', 'claim_malformed:sig'),
  edited('a padded signature', /"sig":"([^"]+)"/, '"sig":"$1=="', 'claim_malformed:sig'),
  edited('an empty signature', /"sig":"[^"]+"/, '"sig":""', 'claim_malformed:sig'),
  forged('no signature', tokenOfText(JSON.stringify(goodClaims())), 'claim_missing:sig'),
  without('v'),
  without('iss'),
  without('sub'),
  without('scope'),
  without('iat'),
  without('exp'),
];

/** The other spelling of the last signature character: same bytes when decoded carelessly. */
function withSpareBits(text: string): string {
  return text.replace(/"sig":"([^"]+)(.)"/, (_, head: string, last: string) => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    return `"sig":"${head}${alphabet.charAt(alphabet.indexOf(last) | 1)}"`;
  });
}

const claimsOfA = {
  version: '1.0',
  issuer: trustedIssuer.did,
  subject: 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK',
  scope: [{ tool: 'weather', actions: ['get_forecast'] }],
  exp: testNowSec + 3_500,
  nonce: 'unique-nonce-12345678',
};

const claimsOfB = {
  id: 'cap_0123456789abcdef01234567',
  version: 1,
  issuer: trustedIssuer.did,
  subject: 'did:talos:agent',
  scope: 'tool:weather',
  issued_at: '2023-11-14T22:13:20Z',
  expires_at: '2033-11-14T22:13:20Z',
};

function otherForm(name: string, claims: object, detail: string): WrongToken {
  return forged(name, tokenOfText(signedText(claims, trustedIssuer, 'signature')), detail);
}

const otherForms: readonly WrongToken[] = [
  ...[claimsOfA, claimsOfB].map((claims) =>
    forged(
      `the form of version ${claims.version}, with the signature of nobody`,
      tokenOfText(JSON.stringify({ ...claims, signature: 'A'.repeat(86) })),
      'signature_wrong',
    ),
  ),
  otherForm('a form of another version', { ...claimsOfA, version: '1.1' }, 'unsupported_form'),
  otherForm('a version that is a text where it is a number', { ...claimsOfB, version: '1' }, 'unsupported_form'),
  otherForm('form A with a claim more', { ...claimsOfA, delegatable: true }, 'claim_unknown'),
  otherForm('form A with a short nonce', { ...claimsOfA, nonce: 'short' }, 'claim_malformed:nonce'),
  otherForm('form A with another kind of DID', { ...claimsOfA, subject: 'did:talos:a' }, 'claim_malformed:subject'),
  otherForm(
    'form A with actions that are no list',
    { ...claimsOfA, scope: [{ tool: 'a', actions: 'b' }] },
    'claim_malformed:scope',
  ),
  otherForm(
    'form A with more in its scope',
    { ...claimsOfA, scope: [{ tool: 'a', actions: [], x: 1 }] },
    'claim_malformed:scope',
  ),
  otherForm('form A with metadata that is a text', { ...claimsOfA, metadata: 'x' }, 'claim_malformed:metadata'),
  otherForm(
    'form A with constraints that are a list',
    { ...claimsOfA, metadata: { constraints: [] } },
    'claim_malformed:metadata',
  ),
  otherForm('form B without an id', { ...claimsOfB, id: '' }, 'claim_malformed:id'),
  otherForm(
    'form B with seconds as time',
    { ...claimsOfB, expires_at: testNowSec + 3_500 },
    'claim_malformed:expires_at',
  ),
  otherForm(
    'form B with a day that there is not',
    { ...claimsOfB, expires_at: '2033-02-30T00:00:00Z' },
    'claim_malformed:expires_at',
  ),
  otherForm(
    'form B with a time without zone',
    { ...claimsOfB, expires_at: '2033-02-01T00:00:00' },
    'claim_malformed:expires_at',
  ),
  otherForm('form B with a claim of form C', { ...claimsOfB, sub: 'did:talos:other' }, 'claim_unknown'),
  forged(
    'form B with its signature in the other alphabet',
    tokenOfText(JSON.stringify({ ...claimsOfB, signature: `${'A'.repeat(85)}+` })),
    'claim_malformed:signature',
  ),
  forged(
    'form B with a padded signature',
    tokenOfText(JSON.stringify({ ...claimsOfB, signature: `${'A'.repeat(86)}==` })),
    'claim_malformed:signature',
  ),
];

const jws = jwsOf(goodClaims());

const jwsFaults: readonly WrongToken[] = [
  forged('a JWS of four parts', `${jws}.e30`, 'token_malformed'),
  forged('a JWS of two parts', jws.slice(0, jws.lastIndexOf('.')), 'token_malformed'),
  forged('a JWS with an empty signature', jws.slice(0, jws.lastIndexOf('.') + 1), 'claim_malformed:sig'),
  forged('a JWS with a padded part', jws.replace('.', '=.'), 'token_malformed'),
  forged('a JWS without algorithm', jwsOf(goodClaims(), { alg: 'none' }), 'jws_header'),
  forged('a JWS under a shared secret', jwsOf(goodClaims(), { alg: 'HS256' }), 'jws_header'),
  forged('a JWS that brings its key', jwsOf(goodClaims(), { alg: 'EdDSA', jwk: {} }), 'jws_header'),
  forged('a JWS with an extension', jwsOf(goodClaims(), { alg: 'EdDSA', crit: ['b64'], b64: false }), 'jws_header'),
  forged('a JWS for somebody else', jwsOf({ ...goodClaims(), aud: 'another-service' }), 'claim_malformed:aud'),
  forged('a JWS with a claim more', jwsOf({ ...goodClaims(), admin: true }), 'claim_unknown'),
  forged('a JWS with a null', jwsOf({ ...goodClaims(), nbf: null }), 'token_malformed'),
  forged('a JWS by another key', jwsOf(goodClaims(), { alg: 'EdDSA' }, strangeIssuer), 'signature_wrong'),
  forged(
    'a JWS with another payload',
    jws.replace(/\.[^.]+\./, `.${tokenOfText(JSON.stringify(goodClaims({ scope: 'tool:*' })))}.`),
    'signature_wrong',
  ),
];

const falseTokens: readonly WrongToken[] = [
  edited('the subject swapped', 'did:talos:agent', 'did:talos:other', 'signature_wrong'),
  edited('the scope widened', '/method:get_forecast', '', 'signature_wrong'),
  edited('the life prolonged', `"exp":${testNowSec + 3_500}`, `"exp":${testNowSec + 9_999_999}`, 'signature_wrong'),
  edited('a constraint added', '{"exp"', '{"constraints":{"bearer":true},"exp"', 'signature_wrong'),
  edited('a signature of zeros', /"sig":"[^"]+"/, `"sig":"${'A'.repeat(86)}"`, 'signature_wrong'),
  forged('the spare bits of the signature set', tokenOfText(withSpareBits(goodText)), 'claim_malformed:sig'),
  forged('signed by another key', tokenOfText(signedText(goodClaims(), strangeIssuer)), 'signature_wrong'),
  forged(
    'an issuer that is not trusted',
    tokenOfText(signedText(goodClaims({ iss: strangeIssuer.did }), strangeIssuer)),
    'issuer_untrusted',
  ),
  signedWith('an issuer that is no DID', { iss: 'https://issuer.example' }, 'issuer_untrusted'),
  forged('issued in the future', tokenWith({ iat: testNowSec + 61 }), 'issued_in_future'),
];

const untimely: readonly WrongToken[] = [
  { name: 'expired', token: tokenWith({ exp: testNowSec - 60 }), reason: 'EXPIRED' },
  { name: 'expired long ago', token: tokenWith({ iat: 0, exp: 1 }), reason: 'EXPIRED' },
  {
    name: 'expired before it was issued',
    token: tokenWith({ iat: testNowSec, exp: testNowSec }),
    reason: 'EXPIRED',
    detail: 'never_valid',
  },
  { name: 'too early', token: tokenWith({ nbf: testNowSec + 61 }), reason: 'SCOPE_MISMATCH', detail: 'not_yet_valid' },
  {
    name: 'too early by a constraint',
    token: tokenWith({ constraints: { nbf: testNowSec + 61 } }),
    reason: 'SCOPE_MISMATCH',
    detail: 'not_yet_valid',
  },
];

const meaningless: readonly WrongToken[] = [
  'tools/call',
  'weather/get_forecast',
  'tool:',
  'tool:Weather',
  'tool:weather/method:',
  'tool:weather/method:get*',
  'tool:weather/method:a/method:b',
  'TOOL:weather',
  'tool:weather  tool:git',
].map((scope) => ({
  name: `the scope "${scope}"`,
  token: tokenWith({ scope }),
  reason: 'SCOPE_MISMATCH',
  detail: 'scope_malformed',
}));

function brokenChain(name: string, token: string, detail: string): WrongToken {
  return { name, token, reason: 'DELEGATION_INVALID', detail };
}

const [first, second, third, fourth] = holders;
const root = rootToken();
const mid = childToken(first, [root], { sub: second.did, delegatable: true });
const tampered = tokenOfText(Buffer.from(root, 'base64url').toString().replace('tool:weather', 'tool:*'));

const delegated: readonly WrongToken[] = [
  brokenChain('a parent that is no token', tokenWith({ delegation_chain: ['parent'] }), 'chain_malformed'),
  brokenChain('a parent named by its id', childToken(first, ['cap_0123456789abcdef01234567']), 'chain_malformed'),
  brokenChain('passed on four times', childToken(fourth, [chainOf(3)]), 'chain_too_long'),
  brokenChain('four parents in one list', childToken(first, [root, root, root, root]), 'chain_too_long'),
  brokenChain(
    'a parent that may not be passed on',
    childToken(first, [rootToken({ delegatable: false })]),
    'not_delegatable',
  ),
  brokenChain(
    'a parent that does not say so',
    childToken(second, [childToken(first, [root], { sub: second.did })]),
    'not_delegatable',
  ),
  brokenChain('issued by somebody else than the subject', childToken(second, [root]), 'issuer_not_subject'),
  brokenChain('a subject that is no key', childToken(first, [rootToken({ sub: 'agent-1' })]), 'issuer_not_subject'),
  brokenChain('a link left out', childToken(third, [root, mid]), 'issuer_not_subject'),
  brokenChain('every server of one', childToken(first, [root], { scope: 'tool:*' }), 'scope_widened'),
  brokenChain(
    'the gateway itself of every server',
    childToken(first, [rootToken({ scope: 'tool:*' })], { scope: 'tool:gateway' }),
    'scope_widened',
  ),
  brokenChain('a scope more', childToken(first, [root], { scope: 'tool:weather tool:git' }), 'scope_widened'),
  brokenChain('every tool of one', childToken(first, [rootToken({ scope: 'tool:weather/method:a' })]), 'scope_widened'),
  brokenChain(
    'the server of its tools',
    childToken(first, [rootToken({ scope: 'tool:weather/method:*' })]),
    'scope_widened',
  ),
  brokenChain(
    'a scope of a parent without any',
    childToken(first, [rootToken({ scope: 'nonsense' })]),
    'scope_widened',
  ),
  brokenChain('a longer life', childToken(first, [root], { exp: testNowSec + 3_501 }), 'expiry_later'),
  brokenChain(
    'another team',
    childToken(first, [rootToken({ constraints: { team_id: 'red' } })], { constraints: { team_id: 'blue' } }),
    'team_changed',
  ),
  brokenChain('no team', childToken(first, [rootToken({ constraints: { team_id: 'red' } })]), 'team_changed'),
  brokenChain('every team', childToken(first, [root], { constraints: { team_id: '*' } }), 'team_changed'),
  brokenChain(
    'a root of a stranger',
    childToken(first, [
      tokenOfText(signedText(goodClaims({ iss: strangeIssuer.did, sub: first.did, delegatable: true }), strangeIssuer)),
    ]),
    'root_untrusted',
  ),
  brokenChain('a parent that was changed', childToken(first, [tampered]), 'parent_signature_wrong'),
  brokenChain(
    'parents that contradict each other',
    childToken(second, [rootToken({ exp: testNowSec + 3_499 }), mid]),
    'chain_inconsistent',
  ),
  forged(
    'a child that somebody else signed',
    tokenOfText(
      signedText({ ...goodClaims({ iss: first.did, scope: 'tool:weather' }), delegation_chain: [root] }, second),
    ),
    'signature_wrong',
  ),
  {
    name: 'a parent that expired',
    token: childToken(first, [rootToken({ exp: testNowSec - 60 })], { exp: testNowSec - 60 }),
    reason: 'EXPIRED',
  },
  {
    name: 'a parent that does not count yet',
    token: childToken(first, [rootToken({ constraints: { nbf: testNowSec + 61 } })]),
    reason: 'SCOPE_MISMATCH',
    detail: 'not_yet_valid',
  },
  forged('a parent of the future', childToken(first, [rootToken({ iat: testNowSec + 61 })]), 'issued_in_future'),
];

export const wrongTokens: readonly WrongToken[] = [
  ...malformedTexts,
  ...profileFaults,
  ...otherForms,
  ...jwsFaults,
  ...falseTokens,
  ...untimely,
  ...meaningless,
  ...delegated,
];
