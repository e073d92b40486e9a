/**
 * The form of a capability token: base64url of a JSON object with a closed key set (form C of the protocol). The profile
 * is strict (no nulls, no fractions, no duplicate keys), so that two readers can never see two tokens in one.
 */
import { decodeBase64url } from './base64url.ts';
import { canonicalize } from './canonical-json.ts';
import { type Denial, deny } from './denial.ts';
import { TalosError } from './errors.ts';
import { sha256Hex } from './hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import { parseJsonBytesStrict } from './strict-json.ts';

/** What an issuer signs. Times are Unix seconds. */
export interface UnsignedClaims {
  readonly v: '1';
  /** DID of the signing key. */
  readonly iss: string;
  /** Opaque to the gateway; usually a DID. */
  readonly sub: string;
  readonly scope: string;
  readonly iat: number;
  readonly exp: number;
  readonly nbf?: number;
  readonly constraints?: JsonObject;
  readonly delegatable?: boolean;
  readonly delegation_chain?: readonly string[];
}

export interface CapabilityClaims extends UnsignedClaims {
  /** Ed25519 over the canonical JSON of the other members, base64url. */
  readonly sig: string;
}

/** A token that is well-formed; nothing is known yet about whether it is true. */
export interface DecodedCapability {
  readonly claims: CapabilityClaims;
  /** Hex SHA-256 of the canonical JSON of all claims, signature included: the identity of the token. */
  readonly hash: string;
  readonly signedBytes: Buffer;
  readonly signature: Buffer;
}

/**
 * Reads a token of at most `charsMax` characters. White space and key order are free, since signature and hash are over
 * the canonical form. Every fault is SIGNATURE_INVALID with the kind of fault as detail.
 */
export function decodeCapability(token: string, charsMax: number): DecodedCapability | Denial {
  if (token.length > charsMax) return deny('SIGNATURE_INVALID', 'token_too_large');
  if (compactJws.test(token)) return deny('SIGNATURE_INVALID', 'unsupported_form');
  const object = parseToken(token);
  if (object === undefined) return deny('SIGNATURE_INVALID', 'token_malformed');
  if (Object.hasOwn(object, 'version')) return deny('SIGNATURE_INVALID', 'unsupported_form');
  const fault = claimFault(object);
  return fault === undefined ? digest(object as unknown as CapabilityClaims) : deny('SIGNATURE_INVALID', fault);
}

/** The bytes that are signed: canonical JSON of the claims without `sig`. */
export function signedBytesOf(claims: UnsignedClaims | CapabilityClaims): Buffer {
  const { sig: _, ...unsigned } = claims as CapabilityClaims;
  return Buffer.from(canonicalize(unsigned as unknown as JsonObject), 'utf8');
}

/** Hex SHA-256 of the canonical JSON with the signature. */
function capabilityHash(claims: CapabilityClaims): string {
  return sha256Hex(canonicalize(claims as unknown as JsonObject));
}

/** Whether a capability can be given to this subject: 1 to 200 printable characters, and not a name of the records. */
export function isSubject(value: JsonValue): boolean {
  return isIdentifier(value) && !reservedSubjects.has(String(value));
}

// A word for the first claim that is missing, unknown, of the wrong type or out of bounds.
function claimFault(object: JsonObject): string | undefined {
  const missing = requiredKeys.find((key) => !Object.hasOwn(object, key));
  if (missing !== undefined) return `claim_missing:${missing}`;
  for (const [key, value] of Object.entries(object)) {
    const isValid = claimChecks.get(key);
    if (isValid === undefined) return 'claim_unknown';
    if (!isValid(value)) return `claim_malformed:${key}`;
  }
  return undefined;
}

const compactJws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*$/;
const requiredKeys = ['v', 'iss', 'sub', 'scope', 'iat', 'exp', 'sig'] as const;
const signatureBytes = 64;
const identifierCharsMax = 200;
const scopeCharsMax = 4_096;
const constraintsMax = 32;
const depthMax = 12;
// The last second of the year 9999, beyond which times have no RFC 3339 form.
const timeSecMax = 253_402_300_799;
const controlCharacter = /\p{Cc}/u;
// Names that records give to nobody and to the gateway itself.
const reservedSubjects = new Set(['anonymous', 'gateway']);

const claimChecks = new Map<string, (value: JsonValue) => boolean>([
  ['v', (value) => value === '1'],
  ['iss', isIdentifier],
  ['sub', isSubject],
  ['scope', (value) => typeof value === 'string' && value !== '' && value.length <= scopeCharsMax],
  ['iat', isTime],
  ['exp', isTime],
  ['nbf', isTime],
  ['constraints', isConstraints],
  ['delegatable', (value) => typeof value === 'boolean'],
  ['delegation_chain', (value) => Array.isArray(value) && value.every((link) => typeof link === 'string')],
  ['sig', (value) => typeof value === 'string' && decodeBase64url(value)?.length === signatureBytes],
]);

function isIdentifier(value: JsonValue): boolean {
  if (typeof value !== 'string' || value === '' || value.length > identifierCharsMax) return false;
  return !controlCharacter.test(value);
}

function isTime(value: JsonValue | undefined): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= timeSecMax;
}

// `team_id` and `nbf` are read here already, because records and the clock need them; the rest is for the policy.
function isConstraints(value: JsonValue): boolean {
  if (!isJsonObject(value) || Object.keys(value).length > constraintsMax) return false;
  const { team_id: team, nbf } = value;
  return (team === undefined || isIdentifier(team)) && (nbf === undefined || isTime(nbf));
}

function parseToken(token: string): JsonObject | undefined {
  const bytes = decodeBase64url(token);
  if (bytes === undefined || bytes.length === 0) return undefined;
  const value = parseStrictly(bytes);
  return isJsonObject(value) ? value : undefined;
}

function parseStrictly(bytes: Buffer): JsonValue | undefined {
  try {
    const value = parseJsonBytesStrict(bytes, { depthMax });
    return hasNullOrFraction(bytes) ? undefined : value;
  } catch (error) {
    if (error instanceof TalosError) return undefined;
    throw error;
  }
}

const jsonString = /"(?:[^"\\]|\\.)*"/g;
// Outside strings: a fraction, an exponent, a negative zero or a null. `1.0` parses to 1, so only the text tells.
const forbiddenLiteral = /[0-9][.eE]|-0|null/;

function hasNullOrFraction(bytes: Buffer): boolean {
  return forbiddenLiteral.test(bytes.toString('utf8').replace(jsonString, '""'));
}

function digest(claims: CapabilityClaims): DecodedCapability {
  return {
    claims,
    hash: capabilityHash(claims),
    signedBytes: signedBytesOf(claims),
    signature: Buffer.from(claims.sig, 'base64url'),
  };
}
