/**
 * A capability token as it is written, in any of the accepted forms, and what it claims. Nothing here says whether a claim
 * is true. The profile is strict (no nulls, no fractions, no duplicate keys, canonical base64url), so that two readers can
 * never see two tokens in one.
 */
import { decodeBase64url } from './base64url.ts';
import { canonicalize } from './canonical-json.ts';
import {
  type CapabilityClaims,
  type CapabilityForm,
  formOf,
  jwsForm,
  type UnsignedClaims,
} from './capability-forms.ts';
import { type Denial, deny } from './denial.ts';
import { TalosError } from './errors.ts';
import { sha256Hex } from './hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import { parseJsonBytesStrict } from './strict-json.ts';

/** A token that is well-formed; nothing is known yet about whether it is true. */
export interface DecodedCapability {
  readonly form: CapabilityForm['name'];
  /** As it was written, signature included; of a JWS the payload. */
  readonly object: JsonObject;
  readonly claims: CapabilityClaims;
  /** The identity of the token, signature included: hex SHA-256 of its canonical JSON, or of the text of a JWS. */
  readonly hash: string;
  readonly signedBytes: Buffer;
  readonly signature: Buffer;
}

/**
 * Reads a token of at most `charsMax` characters. White space and key order of a JSON token are free, since signature and
 * hash are over the canonical form. Every fault is SIGNATURE_INVALID with the kind of fault as detail.
 */
export function decodeCapability(token: string, charsMax: number): DecodedCapability | Denial {
  if (token.length > charsMax) return deny('SIGNATURE_INVALID', 'token_too_large');
  const parts = token.split('.');
  return parts.length === 1 ? decodeJson(token) : decodeJws(parts);
}

/** The bytes that are signed: canonical JSON of the claims, which have no signature yet. */
export function signedBytesOf(claims: UnsignedClaims): Buffer {
  return Buffer.from(canonicalize(claims as unknown as JsonObject), 'utf8');
}

const signatureBytes = 64;
const depthMax = 32;

function decodeJson(token: string): DecodedCapability | Denial {
  const object = parseObject(token);
  if (object === undefined) return malformed('token_malformed');
  const form = formOf(object);
  if (form === undefined) return malformed('unsupported_form');
  const fault = form.faultOf(object);
  if (fault !== undefined) return malformed(fault);
  const { [form.signatureKey]: sig, ...unsigned } = object;
  const signature = readSignature(sig);
  if (signature === undefined) return malformed(`claim_malformed:${form.signatureKey}`);
  return {
    form: form.name,
    object,
    claims: form.claimsOf(object),
    hash: sha256Hex(canonicalize(object)),
    signedBytes: Buffer.from(canonicalize(unsigned), 'utf8'),
    signature,
  };
}

/** RFC 7515, section 3.1. */
function decodeJws(parts: readonly string[]): DecodedCapability | Denial {
  const [headerText = '', payloadText = '', signatureText] = parts;
  const header = parseObject(headerText);
  const object = parseObject(payloadText);
  if (parts.length !== 3 || header === undefined || object === undefined) return malformed('token_malformed');
  if (!isJwsHeader(header)) return malformed('jws_header');
  const fault = jwsForm.faultOf(object);
  if (fault !== undefined) return malformed(fault);
  const signature = readSignature(signatureText);
  if (signature === undefined) return malformed('claim_malformed:sig');
  return {
    form: jwsForm.name,
    object,
    claims: jwsForm.claimsOf(object),
    // Its parts are canonical base64url and signed as text, so no second text is the same token.
    hash: sha256Hex(parts.join('.')),
    signedBytes: Buffer.from(`${headerText}.${payloadText}`, 'utf8'),
    signature,
  };
}

function malformed(detail: string): Denial {
  return deny('SIGNATURE_INVALID', detail);
}

const jwsHeaderKeys = new Set(['alg', 'typ', 'kid']);

// A header that brings its own key, extensions or another encoding of the payload would be judged by rules of its own.
function isJwsHeader(header: JsonObject): boolean {
  return header['alg'] === 'EdDSA' && Object.entries(header).every(([key, value]) => isHeaderMember(key, value));
}

function isHeaderMember(key: string, value: JsonValue): boolean {
  return jwsHeaderKeys.has(key) && typeof value === 'string';
}

function readSignature(text: JsonValue | undefined): Buffer | undefined {
  const bytes = typeof text === 'string' ? decodeBase64url(text) : undefined;
  return bytes?.length === signatureBytes ? bytes : undefined;
}

function parseObject(text: string): JsonObject | undefined {
  const bytes = decodeBase64url(text);
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
