/**
 * Turns one raw value, a string of the environment or a node of the file, into a typed one, or into the predicate of
 * the sentence that refuses it ("must be …"). Addresses are never quoted back, because they may carry a password.
 */

import { isIP } from 'node:net';
import { verifierOfKey } from '../core/cosignature.ts';
import { parseDid } from '../core/did.ts';
import { cosignature } from '../core/note-key.ts';
import { gatewayMetaKeys } from '../core/surfaces.ts';
import { bounds } from './bounds.ts';
import { Secret } from './secret.ts';

export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };
export type Parser<T> = (raw: unknown) => Parsed<T>;

const accept = <T>(value: T): Parsed<T> => ({ ok: true, value });
const refuse = (problem: string): Parsed<never> => ({ ok: false, problem });

/** The refused value as it may be shown: short, on one line. Never call it with an address or a secret. */
function quote(raw: unknown): string {
  const text = JSON.stringify(raw) ?? String(raw);
  return text.length > bounds.quotedValueCharsMax ? `${text.slice(0, bounds.quotedValueCharsMax)}…` : text;
}

const booleanWords: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  '1': true,
  false: false,
  no: false,
  off: false,
  '0': false,
};

/** A strict boolean: an unknown word is refused and never counts as either. */
export const parseBoolean: Parser<boolean> = (raw) => {
  const word = typeof raw === 'string' || typeof raw === 'number' ? String(raw).toLowerCase() : raw;
  if (typeof word === 'boolean') return accept(word);
  const value = typeof word === 'string' && Object.hasOwn(booleanWords, word) ? booleanWords[word] : undefined;
  if (value === undefined) return refuse(`must be true or false (also yes/no, on/off, 1/0), not ${quote(raw)}`);
  return accept(value);
};

/** A whole number within both ends, written in decimal digits. */
export function parseInteger(min: number, max: number, what = 'a whole number'): Parser<number> {
  return (raw) => {
    const value = typeof raw === 'string' && /^\d{1,9}$/.test(raw) ? Number(raw) : raw;
    const fits = typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
    return fits ? accept(value) : refuse(`must be ${what} from ${min} to ${max}, not ${quote(raw)}`);
  };
}

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** Bytes: a whole number, or one with a unit such as `512MiB` or `20 GB`. */
export function parseSize(minBytes: number): Parser<number> {
  return (raw) => {
    const [, count, unit = ''] = /^(\d{1,15}) ?([a-z]{0,3})$/.exec(String(raw).toLowerCase()) ?? [];
    const factor = Object.hasOwn(sizeUnits, unit) ? sizeUnits[unit] : undefined;
    const bytes = typeof raw === 'object' || factor === undefined ? Number.NaN : Number(count) * factor;
    return Number.isSafeInteger(bytes) && bytes >= minBytes
      ? accept(bytes)
      : refuse(`must be a size of at least ${minBytes} bytes, such as 512MiB or 20GB, not ${quote(raw)}`);
  };
}

/** One of some words, in any case; `words` maps what may be written to what it means. */
export function parseWord<T extends string>(words: Readonly<Record<string, T>>): Parser<T> {
  return (raw) => {
    const word = typeof raw === 'string' ? raw.toLowerCase() : '';
    const value = Object.hasOwn(words, word) ? words[word] : undefined;
    return value === undefined
      ? refuse(`must be one of ${Object.keys(words).join(', ')}, not ${quote(raw)}`)
      : accept(value);
  };
}

/** Printable text on one line. A bare number of the file is refused, because YAML would rewrite `1.10` as `1.1`. */
export const parseText: Parser<string> = (raw) => {
  if (typeof raw === 'number' || typeof raw === 'boolean') return refuse('must be text: put it into quotes');
  const fits = typeof raw === 'string' && /^[^\p{C}]+$/u.test(raw) && raw.length <= bounds.settingTextCharsMax;
  return fits
    ? accept(raw)
    : refuse(`must be printable text of 1 to ${bounds.settingTextCharsMax} characters on one line`);
};

/** A short name that is safe in a header, a metric label and a record. */
export const parseLabel: Parser<string> = (raw) =>
  typeof raw === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(raw)
    ? accept(raw)
    : refuse(`must be 1 to 63 letters, digits, ".", "_" or "-", and begin with a letter or digit, not ${quote(raw)}`);

/** A key of metadata that clients choose; those that the gateway writes mean something and stay readable. */
export const parseErasable: Parser<string> = (raw) => {
  const isKey = typeof raw === 'string' && /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(raw) && raw !== '__proto__';
  if (!isKey) return refuse(`must be keys of 1 to 64 letters, digits, "_", "." or "-", not ${quote(raw)}`);
  return gatewayMetaKeys.has(raw) ? refuse(`must not hold ${raw}, which the gateway itself writes`) : accept(raw);
};

/** The name of a log, as checkpoints and keys carry it (C2SP signed-note: no white space, no plus sign). */
export const parseLogName: Parser<string> = (raw) =>
  typeof raw === 'string' && /^[A-Za-z0-9._~/:-]{1,200}$/.test(raw)
    ? accept(raw)
    : refuse(
        `must be 1 to 200 letters, digits and ". _ ~ / : -", such as gateway.example.com/audit, not ${quote(raw)}`,
      );

/** A program and its arguments: a list of the file, or JSON text. */
export const parseCommand: Parser<readonly string[]> = (raw) => {
  const words = typeof raw === 'string' ? parsedJson(raw) : raw;
  const fits = Array.isArray(words) && words.every((word) => typeof word === 'string' && !word.includes('\0'));
  return fits && words.length <= bounds.commandWordsMax && words[0] !== undefined && words[0] !== ''
    ? accept(words)
    : refuse('must be a list of a program and its arguments, such as ["get-key", "--name", "log"]');
};

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A witness: its verifier key, a space, and the address that its submission prefix is. */
export const parseWitness: Parser<string> = (raw) => {
  const [key, address, ...more] = typeof raw === 'string' ? raw.split(' ') : [];
  if (key === undefined || address === undefined || more.length > 0 || !isWitnessKey(key)) {
    return refuse('must list witnesses as "<verifier key> <address>", with keys of witnesses (signature type 4)');
  }
  const url = parseHttpUrl(address);
  return url.ok ? accept(`${key} ${address}`) : url;
};

function isWitnessKey(text: string): boolean {
  try {
    return verifierOfKey(text).type === cosignature;
  } catch {
    return false;
  }
}

/** A path of the file system; relative ones are resolved later, against the working directory. */
export const parsePath: Parser<string> = (raw) =>
  typeof raw === 'string' && raw !== '' && !raw.includes('\0')
    ? accept(raw)
    : refuse(`must be a path, not ${quote(raw)}`);

/** An address to listen on: an IP address or a host name. */
export const parseHost: Parser<string> = (raw) =>
  typeof raw === 'string' && isHost(raw)
    ? accept(raw)
    : refuse(`must be an IP address or a host name without port, such as 127.0.0.1, not ${quote(raw)}`);

function isHost(text: string): boolean {
  if (isIP(text) !== 0) return true;
  const name = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*$/;
  return name.test(text) && !/^[\d.]+$/.test(text);
}

/** An http(s) address without credentials and fragment. */
export const parseHttpUrl: Parser<string> = (raw) => {
  const url = typeof raw === 'string' ? URL.parse(raw) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return refuse('must be an http:// or https:// address');
  if (url.username !== '' || url.password !== '') {
    return refuse('must not carry a user name or password: send them as a header instead');
  }
  return url.hash === '' ? accept(String(raw)) : refuse('must not carry a fragment (#…)');
};

/** Where other gateways reach this one: scheme, host and port only. */
export const parseGatewayAddress: Parser<string> = (raw) => {
  const url = typeof raw === 'string' ? URL.parse(raw) : null;
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === raw
    ? accept(url.origin)
    : refuse(`must be an address such as http://10.0.0.7:8000 (no path, no final slash), not ${quote(raw)}`);
};

/** An origin that browsers send: scheme, host and port only. A wildcard is refused, whatever its form. */
export const parseOrigin: Parser<string> = (raw) => {
  if (typeof raw === 'string' && raw.includes('*')) return refuse('must list origins one by one; "*" is never allowed');
  const url = typeof raw === 'string' ? URL.parse(raw) : null;
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === raw
    ? accept(url.origin)
    : refuse(`must list origins such as https://example.com (no path, no final slash), not ${quote(raw)}`);
};

/** An IP address or CIDR block of a proxy. A block that holds every address would let anyone forge theirs. */
export const parseProxy: Parser<string> = (raw) => {
  const text = typeof raw === 'string' ? raw : '';
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const prefix = slash < 0 ? undefined : text.slice(slash + 1);
  const family = isIP(address);
  if (family === 0 || address.includes('%')) return refuse(`must list IP addresses or CIDR blocks, not ${quote(raw)}`);
  if (prefix === undefined) return accept(text);
  const bits = /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
  if (bits === 0) return refuse(`must not trust every address (${quote(raw)})`);
  return bits > 0 && bits <= (family === 4 ? 32 : 128)
    ? accept(text)
    : refuse(`must list CIDR blocks with a prefix that fits the address, not ${quote(raw)}`);
};

/** A DID that resolves to an Ed25519 key: `did:key:z6Mk…` or `did:talos:<hex>`. */
export const parseIssuer: Parser<string> = (raw) => {
  try {
    return accept(parseDid(typeof raw === 'string' ? raw : '').did);
  } catch {
    return refuse(`must list Ed25519 keys as did:key:z6Mk… or did:talos:<64 hex digits>, not ${quote(raw)}`);
  }
};

/** A list: comma-separated text, or a list of the file. Duplicates are dropped. */
export function parseList<T>(item: Parser<T>): Parser<readonly T[]> {
  return (raw) => {
    const parts = typeof raw === 'string' ? splitList(raw) : raw;
    if (!Array.isArray(parts)) return refuse('must be a list, or text separated by commas');
    if (parts.length > bounds.settingListItemsMax) {
      return refuse(`must have at most ${bounds.settingListItemsMax} entries`);
    }
    const values = new Set<T>();
    for (const part of parts) {
      const parsed = item(part);
      if (!parsed.ok) return parsed;
      values.add(parsed.value);
    }
    return accept([...values]);
  };
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** A secret exactly as given; white space around it is a mistake of whoever pasted it, and could never be sent. */
export const parseSecret: Parser<Secret> = (raw) => {
  if (typeof raw !== 'string' || raw === '') return refuse('must be text: put it into quotes');
  return raw.trim() === raw ? accept(new Secret(raw)) : refuse('must not begin or end with white space');
};

/** A PostgreSQL connection address, kept whole as a secret because it may hold a password. */
export const parseDatabaseUrl: Parser<Secret> = (raw) => {
  const text = typeof raw === 'string' ? raw : '';
  const hosted = text.replace('@/', '@localhost/').replace(':///', '://localhost/');
  return /^postgres(ql)?:\/\/\S+$/.test(text) && URL.canParse(hosted)
    ? accept(new Secret(text))
    : refuse('must be a postgres:// or postgresql:// address; percent-encode special characters of the password');
};
