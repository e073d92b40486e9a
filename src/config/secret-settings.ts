/** The settings of what administrators change while the gateway runs: the keys of secrets, and which servers may be added. */
import { parseKeyRing } from '../core/key-ring.ts';
import { type Parser, parseBoolean, parsePath, parseSecret } from './parse.ts';
import type { Secret } from './secret.ts';
import { setting } from './setting.ts';

const parseKeys: Parser<Secret> = (raw) => {
  const parsed = parseSecret(raw);
  if (!parsed.ok) return parsed;
  try {
    parseKeyRing(parsed.value.reveal(), 'it');
    return parsed;
  } catch {
    return {
      ok: false,
      problem: 'must hold keys of 32 bytes in hex or base64url, with a name before a colon or without',
    };
  }
};

export const secretSettings = {
  secretsKey: setting<Secret | undefined>({
    env: ['TALOS_MASTER_KEY', 'MASTER_KEY'],
    file: ['secrets_key'],
    parse: parseKeys,
    default: undefined,
    defaultText: 'those of the file',
    secret: true,
    meaning:
      'Keys that secrets are kept under, `<name>:<32 bytes as hex or base64url>` between commas: the first is in use, the others open what is older. The same for all gateways on one database.',
  }),
  secretsKeyFile: setting<string | undefined>({
    env: ['TALOS_SECRETS_KEY_FILE'],
    file: ['secrets_key_file'],
    parse: parsePath,
    default: undefined,
    defaultText: '`secrets.key` in the data folder, made when it is first needed',
    meaning:
      'File with these keys, read again by every rotation. Keep a copy elsewhere: without it the secrets are lost.',
  }),
  managedStdioServers: setting<boolean>({
    env: ['TALOS_MANAGED_STDIO_SERVERS'],
    file: ['managed_stdio_servers'],
    parse: parseBoolean,
    default: false,
    meaning:
      'Whether tool servers that administrators add may be processes. Whoever may add one then runs any program as the user of the gateway.',
  }),
};

const looksSecret =
  /SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|PEPPER|(?:^|_)KEY(?:$|_)|APIKEY|DATABASE_(?:\w+_)?URL|REDIS_URL/i;

/** Names of variables that look like those of secrets, sorted; never a value. */
export function secretNamesOf(env: Readonly<Record<string, string>>): readonly string[] {
  return Object.keys(env)
    .filter((name) => looksSecret.test(name) && env[name] !== '')
    .sort();
}
