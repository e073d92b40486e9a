/**
 * A look at a token of three parts, before anything of it is believed: only to choose which verifier is to judge it.
 * Each verifier takes the algorithms of its own and no other, so a wrong choice can only end in a refusal.
 */
import { decodeBase64url } from '../core/base64url.ts';
import { isJsonObject, type JsonObject } from '../core/json.ts';

export interface JwsClaim {
  /** What the header says the algorithm is. */
  readonly algorithm: string;
  /** What the payload says its issuer is. */
  readonly issuer: string | undefined;
}

/** Undefined when it is not three parts in the canonical spelling with JSON objects in the first two. */
export function peekJws(token: string, charsMax: number): JwsClaim | undefined {
  if (token.length > charsMax) return undefined;
  const parts = token.split('.');
  const [header, payload] = parts.map(objectIn);
  if (parts.length !== 3 || header === undefined || payload === undefined) return undefined;
  // Two spellings of one signature would be two tokens.
  if (decodeBase64url(parts[2] ?? '') === undefined) return undefined;
  const { alg } = header;
  const { iss } = payload;
  if (typeof alg !== 'string') return undefined;
  return { algorithm: alg, issuer: typeof iss === 'string' ? iss : undefined };
}

function objectIn(part: string): JsonObject | undefined {
  const bytes = decodeBase64url(part);
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
