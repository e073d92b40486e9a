/** `auth` of a server's entry: how the gateway gets the token that it shows to the server. */
import { authTypes, registrationWays, type ServerAuth, subjectTokenTypes } from '../core/server-auth.ts';
import { isMap } from './config-file.ts';
import { suggest } from './nearest.ts';
import { type Parsed, type Parser, parseHttpUrl, parseList, parseText } from './parse.ts';
import { secretRecord } from './secret.ts';

function oneOf<T extends string>(words: readonly T[]): Parser<T> {
  return (raw) => {
    const value = words.find((word) => word === raw);
    return value === undefined ? { ok: false, problem: `must be one of ${words.join(', ')}` } : { ok: true, value };
  };
}

/** A word of OAuth (RFC 6749, section 3.3): scopes are told apart by blanks. */
const parseScope: Parser<string> = (raw) =>
  typeof raw === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/.test(raw)
    ? { ok: true, value: raw }
    : { ok: false, problem: 'must hold words without blanks, quotes and backslashes' };

/** Said, unless it is `false`. */
const parseResource: Parser<string | false> = (raw) => (raw === false ? { ok: true, value: raw } : parseHttpUrl(raw));

interface Field {
  readonly to: keyof ServerAuth;
  readonly parse: Parser<unknown>;
}

const fields: Readonly<Record<string, Field>> = {
  type: { to: 'type', parse: oneOf(authTypes) },
  client_id: { to: 'clientId', parse: parseText },
  registration: { to: 'registration', parse: oneOf(registrationWays) },
  client_auth: { to: 'clientAuth', parse: oneOf(['basic', 'post']) },
  token_url: { to: 'tokenUrl', parse: parseHttpUrl },
  authorization_url: { to: 'authorizationUrl', parse: parseHttpUrl },
  revocation_url: { to: 'revocationUrl', parse: parseHttpUrl },
  issuer: { to: 'issuer', parse: parseHttpUrl },
  scopes: { to: 'scopes', parse: parseList(parseScope) },
  resource: { to: 'resource', parse: parseResource },
  audience: { to: 'audience', parse: parseText },
  subject_token_type: { to: 'subjectTokenType', parse: oneOf(subjectTokenTypes) },
};

/** Keys that `auth` may hold. */
export const authKeys: readonly string[] = [...Object.keys(fields), 'client_secret'];

/** @param parseSecret Reads the client secret, which may refer to one of the environment or the store. */
export function parseServerAuth(parseSecret: Parser<string>): Parser<ServerAuth> {
  return (raw) => {
    if (!isMap(raw)) return { ok: false, problem: `must be a map with the keys ${authKeys.join(', ')}` };
    const draft: Partial<Record<keyof ServerAuth, unknown>> = {};
    for (const [key, value] of Object.entries(raw)) {
      if (value === null) continue;
      const parsed = key === 'client_secret' ? parseSecret(value) : parseField(key, value);
      if (!parsed.ok) return { ok: false, problem: `${parsed.problem} (at "${key.slice(0, 60)}")` };
      if (key === 'client_secret') draft.secrets = secretRecord({ client_secret: String(parsed.value) });
      else draft[fields[key]?.to ?? 'type'] = parsed.value;
    }
    if (draft.type === undefined) return { ok: false, problem: 'needs a type' };
    // Each field came from its own parser, so the draft has the types of the specification.
    return { ok: true, value: draft as unknown as ServerAuth };
  };
}

function parseField(key: string, value: unknown): Parsed<unknown> {
  const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
  if (field === undefined)
    return { ok: false, problem: `holds a key that it does not know. ${suggest(key, authKeys)}` };
  return field.parse(value);
}
