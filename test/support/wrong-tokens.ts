/**
 * Tokens that no gateway may accept, each wrong in one way and right in every other: where that is possible the
 * signature is the trusted issuer's own, so that nothing but the named fault can be the reason.
 */
import type { UnsignedClaims } from '../../src/core/capability-claims.ts';
import type { DenialReason } from '../../src/core/denial.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { goodClaims, signedText, strangeIssuer, testNowSec, tokenOfText, tokenWith, trustedIssuer } from './issuer.ts';

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
  forged('a JWS', 'eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ4In0.c2ln', 'unsupported_form'),
  forged('an unsigned JWS', 'eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.', 'unsupported_form'),
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

const otherForms: readonly WrongToken[] = [
  forged(
    'the form with `issuer` and a list of scopes',
    tokenOfText(
      JSON.stringify({
        version: '1.0',
        issuer: trustedIssuer.did,
        subject: 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK',
        scope: [{ tool: 'weather', actions: ['get_forecast'] }],
        exp: testNowSec + 3_500,
        nonce: 'unique-nonce-12345678',
        signature: 'A'.repeat(86),
      }),
    ),
    'unsupported_form',
  ),
  forged(
    'the form with `id` and ISO times',
    tokenOfText(
      JSON.stringify({
        id: 'cap_0123456789abcdef01234567',
        version: 1,
        issuer: trustedIssuer.did,
        subject: 'did:talos:agent',
        scope: 'tool:weather',
        issued_at: '2023-11-14T22:13:20Z',
        expires_at: '2033-11-14T22:13:20Z',
        signature: 'A'.repeat(86),
      }),
    ),
    'unsupported_form',
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

const delegated: readonly WrongToken[] = [
  {
    name: 'a delegation chain',
    token: tokenWith({ delegation_chain: ['parent'] }),
    reason: 'DELEGATION_INVALID',
    detail: 'delegation_unsupported',
  },
];

export const wrongTokens: readonly WrongToken[] = [
  ...malformedTexts,
  ...profileFaults,
  ...otherForms,
  ...falseTokens,
  ...untimely,
  ...meaningless,
  ...delegated,
];
