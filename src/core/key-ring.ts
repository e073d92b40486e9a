/** The keys that secrets are kept under, as one text: the first is the one in use, the others still open what is older. */
import { decodeBase64url } from './base64url.ts';
import { type EnvelopeKey, envelopeKeyBytes } from './envelope.ts';
import { sha256Hex } from './hash.ts';

export interface KeyRing {
  readonly active: EnvelopeKey;
  readonly byId: ReadonlyMap<string, EnvelopeKey>;
}

const keyId = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Reads `[<id>:]<key>` texts between blanks or commas, each key 32 bytes as base64url, base64 or hex; lines after `#` are
 * remarks. A key without a name is named by its hash. Throws an `Error` with one sentence that never shows a key.
 */
export function parseKeyRing(text: string, place: string): KeyRing {
  const words = text
    .replaceAll(/#.*$/gm, '')
    .split(/[\s,]+/)
    .filter((word) => word !== '');
  const keys = words.map((word, at) => parseKey(word, `${place}, key ${at + 1}`));
  const [active] = keys;
  if (active === undefined) throw new Error(`${place} is empty: it should hold a key of 32 bytes.`);
  const byId = new Map(keys.map((key) => [key.id, key]));
  if (byId.size < keys.length) throw new Error(`${place} holds two keys of one name.`);
  return { active, byId };
}

function parseKey(word: string, place: string): EnvelopeKey {
  const colon = word.indexOf(':');
  const key = decodeKey(word.slice(colon + 1));
  if (key === undefined)
    throw new Error(`${place} is not 32 bytes as base64url or hex: make one with openssl rand -hex 32.`);
  const id = colon === -1 ? `k${sha256Hex(key).slice(0, 12)}` : word.slice(0, colon);
  if (!keyId.test(id)) throw new Error(`${place} has a name that is not 1 to 64 letters, digits, dots, _ and -.`);
  return { id, key };
}

function decodeKey(text: string): Buffer | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex');
  const bytes = decodeBase64url(text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''));
  return bytes?.length === envelopeKeyBytes ? bytes : undefined;
}
