/**
 * The forms in which capability tokens are written, each with a closed set of keys: form A of the published schema
 * (`version: "1.0"`), form B of the protocol text (`version: 1`), form C of the SDKs (`v: "1"`), which is the one that is
 * issued here, and the payload of a compact JWS.
 */
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import { parseRfc3339 } from './rfc3339.ts';
import { formatScope } from './scope.ts';

/** What a token says, whichever form it is written in. Times are Unix seconds. */
export interface CapabilityClaims {
  /** A name that the issuer gave the token, by which it can be revoked. */
  readonly id?: string;
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
  /** The tokens that this one was derived from, root first. */
  readonly delegation_chain?: readonly string[];
}

/** What an issuer signs in the form that this project issues. */
export interface UnsignedClaims extends Omit<CapabilityClaims, 'id'> {
  readonly v: '1';
}

export interface CapabilityForm {
  readonly name: 'A' | 'B' | 'C' | 'JWS';
  readonly signatureKey: 'sig' | 'signature';
  /** A word for the first claim that is missing, unknown, of the wrong type or out of bounds. */
  readonly faultOf: (object: JsonObject) => string | undefined;
  /** The claims of an object without fault. */
  readonly claimsOf: (object: JsonObject) => CapabilityClaims;
}

/** The form of a JSON token, or undefined when it has none of them. */
export function formOf(object: JsonObject): CapabilityForm | undefined {
  if (!Object.hasOwn(object, 'version')) return formC;
  if (object['version'] === '1.0') return formA;
  return object['version'] === 1 ? formB : undefined;
}

/** Whether a capability can be given to this subject: 1 to 200 printable characters, and not a name of the records. */
export function isSubject(value: JsonValue): boolean {
  return isIdentifier(value) && !reservedSubjects.has(String(value));
}

type Check = (value: JsonValue) => boolean;

interface Keys {
  readonly required: Readonly<Record<string, Check>>;
  readonly optional: Readonly<Record<string, Check>>;
}

const scopeCharsMax = 4_096;
const constraintsMax = 32;
const identifierCharsMax = 200;
// The last second of the year 9999, beyond which times have no RFC 3339 form.
const timeSecMax = 253_402_300_799;
const controlCharacter = /\p{Cc}/u;
// Names that records give to nobody and to the gateway itself.
const reservedSubjects = new Set(['anonymous', 'gateway']);

const isFlag: Check = (value) => typeof value === 'boolean';
// What the signature is, is for whoever reads it; that it is there, for the form.
const isText: Check = (value) => typeof value === 'string';

const common: Keys = {
  required: { iss: isIdentifier, sub: isSubject, scope: isScopeText, iat: isTime, exp: isTime },
  optional: { nbf: isTime, constraints: isConstraints, delegatable: isFlag, delegation_chain: isTextList },
};

const formC: CapabilityForm = {
  name: 'C',
  signatureKey: 'sig',
  faultOf: faultFinder({
    required: { v: (value) => value === '1', ...common.required, sig: isText },
    optional: common.optional,
  }),
  claimsOf: ({ v: _v, sig: _sig, ...claims }) => claims as unknown as CapabilityClaims,
};

/** Who it is meant for, where a JWS says so. */
const audience = 'talos-gateway';

export const jwsForm: CapabilityForm = {
  name: 'JWS',
  signatureKey: 'sig',
  faultOf: faultFinder({
    required: common.required,
    optional: {
      ...common.optional,
      v: (value) => value === '1',
      jti: isIdentifier,
      aud: (value) => value === audience,
    },
  }),
  claimsOf: ({ v: _v, aud: _aud, jti, ...claims }) => withId(claims as unknown as CapabilityClaims, jti),
};

const formB: CapabilityForm = {
  name: 'B',
  signatureKey: 'signature',
  faultOf: faultFinder({
    required: {
      version: (value) => value === 1,
      id: isIdentifier,
      issuer: isIdentifier,
      subject: isSubject,
      scope: isScopeText,
      issued_at: isTimeText,
      expires_at: isTimeText,
      signature: isText,
    },
    optional: { constraints: isConstraints, delegatable: isFlag, delegation_chain: isTextList },
  }),
  claimsOf: ({ version: _version, signature: _signature, id, issuer, subject, issued_at, expires_at, ...rest }) =>
    withId(
      {
        ...(rest as unknown as CapabilityClaims),
        iss: String(issuer),
        sub: String(subject),
        iat: timeOfText(issued_at) ?? 0,
        exp: timeOfText(expires_at) ?? 0,
      },
      id,
    ),
};

const didKey = /^did:key:z[1-9A-HJ-NP-Za-km-z]+$/;
const nonceCharsMin = 16;

const formA: CapabilityForm = {
  name: 'A',
  signatureKey: 'signature',
  faultOf: faultFinder({
    required: {
      version: (value) => value === '1.0',
      issuer: isDidKey,
      subject: isDidKey,
      scope: isToolActionList,
      exp: isTime,
      nonce: (value) => isIdentifier(value) && String(value).length >= nonceCharsMin,
      signature: isText,
    },
    optional: { nbf: isTime, metadata: isMetadata },
  }),
  claimsOf: ({ issuer, subject, scope, exp, nbf, nonce, metadata }) => {
    const constraints = isJsonObject(metadata) ? metadata['constraints'] : undefined;
    return {
      id: String(nonce),
      iss: String(issuer),
      sub: String(subject),
      scope: scopeText(scope as unknown as readonly ToolActions[]),
      // It does not say when it was issued.
      iat: 0,
      exp: Number(exp),
      ...(nbf === undefined ? {} : { nbf: Number(nbf) }),
      ...(isJsonObject(constraints) ? { constraints } : {}),
    };
  },
};

interface ToolActions {
  readonly tool: string;
  readonly actions: readonly string[];
}

/** `tool` is the server and each action a tool, both taken literally. */
function scopeText(items: readonly ToolActions[]): string {
  return items.flatMap(({ tool, actions }) => actions.map((method) => formatScope({ server: tool, method }))).join(' ');
}

function withId(claims: CapabilityClaims, id: JsonValue | undefined): CapabilityClaims {
  return typeof id === 'string' ? { ...claims, id } : claims;
}

function faultFinder({ required, optional }: Keys): CapabilityForm['faultOf'] {
  const checks = new Map(Object.entries({ ...required, ...optional }));
  const requiredKeys = Object.keys(required);
  return (object) => {
    const missing = requiredKeys.find((key) => !Object.hasOwn(object, key));
    if (missing !== undefined) return `claim_missing:${missing}`;
    for (const [key, value] of Object.entries(object)) {
      const isValid = checks.get(key);
      if (isValid === undefined) return 'claim_unknown';
      if (!isValid(value)) return `claim_malformed:${key}`;
    }
    return undefined;
  };
}

function isIdentifier(value: JsonValue): boolean {
  if (typeof value !== 'string' || value === '' || value.length > identifierCharsMax) return false;
  return !controlCharacter.test(value);
}

function isDidKey(value: JsonValue): boolean {
  return isIdentifier(value) && didKey.test(String(value));
}

function isScopeText(value: JsonValue): boolean {
  return typeof value === 'string' && value !== '' && value.length <= scopeCharsMax;
}

function isToolActionList(value: JsonValue): boolean {
  if (!Array.isArray(value) || !value.every(isToolActions)) return false;
  return scopeText(value as unknown as readonly ToolActions[]).length <= scopeCharsMax;
}

function isToolActions(item: JsonValue): boolean {
  if (!isJsonObject(item) || Object.keys(item).length !== 2) return false;
  return typeof item['tool'] === 'string' && item['actions'] !== undefined && isTextList(item['actions']);
}

function isTextList(value: JsonValue): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isTime(value: JsonValue | undefined): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= timeSecMax;
}

function isTimeText(value: JsonValue): boolean {
  return isTime(timeOfText(value));
}

function timeOfText(value: JsonValue | undefined): number | undefined {
  return typeof value === 'string' ? parseRfc3339(value) : undefined;
}

// Free words for people, but for the one member that has a meaning.
function isMetadata(value: JsonValue): boolean {
  if (!isJsonObject(value)) return false;
  return value['constraints'] === undefined || isConstraints(value['constraints']);
}

// `team_id` and `nbf` are read with the token, because records and the clock need them; the rest is for the policy.
function isConstraints(value: JsonValue): boolean {
  if (!isJsonObject(value) || Object.keys(value).length > constraintsMax) return false;
  const { team_id: team, nbf } = value;
  return (team === undefined || isIdentifier(team)) && (nbf === undefined || isTime(nbf));
}
