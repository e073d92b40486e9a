/**
 * A tool server as administrators give it to a running gateway: the keys of the configuration file, under stricter rules.
 * Credentials come by the names of secrets alone, nothing of the gateway's environment is used, private addresses have to
 * be asked for, and processes are started only where the operator allows that.
 */
import { isAbsolute } from 'node:path';
import type { JsonObject } from '../core/json.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import { secretNamesIn } from '../core/secret-reference.ts';
import { bounds } from './bounds.ts';
import { Findings } from './findings.ts';
import { readServer } from './server-entry.ts';

export interface ManagedServerRules {
  /** Whether a server may be a process. */
  readonly stdioAllowed: boolean;
}

export type ManagedServer =
  | { readonly spec: McpServerSpec; readonly problems?: never }
  | { readonly spec?: never; readonly problems: readonly string[] };

/** The specification of `fields`, or what is wrong with them, one sentence each. No sentence quotes a value. */
export function readManagedServer(id: string, fields: JsonObject, rules: ManagedServerRules): ManagedServer {
  const { allow_private: allowPrivate = false, ...keys } = fields;
  if (JSON.stringify(fields).length > bounds.managedServerBytesMax) return { problems: ['The server says too much.'] };
  if (typeof allowPrivate !== 'boolean') return { problems: ['allow_private must be true or false.'] };
  const findings = new Findings();
  const spec = readServer({ shown: 'the server', id, fields: keys }, {}, findings);
  if (spec === undefined) return { problems: findings.problems };
  const problems = [
    ...credentialProblems(spec),
    ...addressProblems(spec, allowPrivate),
    ...processProblems(spec, allowPrivate, rules),
  ];
  return problems.length > 0 ? { problems } : { spec: { ...spec, publicOnly: !allowPrivate } };
}

/** The secrets that a server refers to, each once. */
export function secretsOf({ headers = {}, env = {}, auth }: McpServerSpec): string[] {
  const texts = [headers, env, auth?.secrets ?? {}].flatMap((each) => Object.values(each));
  return [...new Set(texts.flatMap(secretNamesIn))];
}

function credentialProblems({ url, headers = {}, env = {}, auth }: McpServerSpec): string[] {
  const plain = Object.entries({ ...headers, ...env, ...auth?.secrets }).filter(
    ([, text]) => secretNamesIn(text).length === 0,
  );
  const problems = plain.map(([name]) => `${name} must refer to a secret, as \${secret:name}.`);
  const { search, hash } = new URL(url ?? 'http://none');
  // Queries are where the credentials of such addresses are, and they would be in the clear.
  if (search !== '' || hash !== '') problems.push('The url must not have a query or a fragment: use headers.');
  return problems;
}

/** Tokens and client secrets go there, so nobody on the way may read them. */
function addressProblems({ url, auth }: McpServerSpec, allowPrivate: boolean): string[] {
  if (auth === undefined || allowPrivate) return [];
  const urls = [url, auth.tokenUrl, auth.authorizationUrl, auth.revocationUrl, auth.issuer];
  const isPlain = urls.some((each) => each !== undefined && !each.toLowerCase().startsWith('https:'));
  return isPlain ? ['With auth, the url and the addresses in auth must start with https://.'] : [];
}

function processProblems(
  { transport, cwd }: McpServerSpec,
  allowPrivate: boolean,
  rules: ManagedServerRules,
): string[] {
  if (transport !== 'stdio') return [];
  const problems: string[] = [];
  if (!rules.stdioAllowed)
    problems.push('Servers that are processes are not started from here (TALOS_MANAGED_STDIO_SERVERS).');
  if (allowPrivate) problems.push('allow_private does not go with a process.');
  if (cwd !== undefined && !isAbsolute(cwd)) problems.push('cwd must be an absolute path.');
  return problems;
}
