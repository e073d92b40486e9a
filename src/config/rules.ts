/**
 * What settings must not say together, whatever each of them says alone. A rule whose settings were already refused
 * keeps quiet, because it would only repeat the complaint.
 */
import { isIP } from 'node:net';
import { bounds } from './bounds.ts';
import type { ConfigFile } from './config-file.ts';
import { overrideName } from './environment-layer.ts';
import type { Files } from './files.ts';
import type { Findings } from './findings.ts';
import { parseHttpUrl, parseList } from './parse.ts';
import type { Resolved } from './resolve.ts';
import type { ServerSettings } from './servers.ts';
import { type SettingKey, settings, type Values } from './settings.ts';

export interface RuleContext {
  readonly values: Values;
  readonly sources: Resolved['sources'];
  readonly servers: ServerSettings;
  readonly environment: ReadonlyMap<string, string>;
  readonly file: ConfigFile | undefined;
  readonly files: Files;
}

interface Rule {
  readonly needs: readonly SettingKey[];
  readonly check: (context: RuleContext, findings: Findings) => void;
}

const rules: readonly Rule[] = [
  { needs: ['mode'], check: demandServer },
  { needs: ['mode', 'adminSecret'], check: demandAdminSecret },
  { needs: ['mode', 'bindHost', 'tlsCertFile', 'tlsKeyFile', 'trustedProxies'], check: guardExposure },
  { needs: ['tlsCertFile', 'tlsKeyFile'], check: pairTlsFiles },
  { needs: ['mode', 'requireCapability'], check: keepCapabilities },
  { needs: ['mode', 'trustedIssuers'], check: missIssuers },
  { needs: ['publicUrl'], check: missOwnAddress },
  { needs: ['mode', 'auditIpHmacKey', 'auditIpHmacKeyId'], check: checkIpKey },
  { needs: ['mode', 'apiKeyPepper'], check: checkPepper },
  { needs: ['mode', 'oidcIssuer', 'oidcAudience', 'oidcJwksUrl'], check: checkOidc },
  { needs: ['logKeyFile', 'logKeyCommand'], check: chooseLogKey },
  { needs: ['logWitnesses', 'logWitnessQuorum'], check: checkWitnesses },
  { needs: ['storeSizeWarn', 'storeSizeStop'], check: orderWatermarks },
  { needs: ['rateLimitRoutes'], check: checkRoutes },
  { needs: ['mode'], check: guardFile },
  { needs: ['databaseUrl'], check: refuseReferences },
  { needs: [], check: checkVersion },
  { needs: [], check: keepToAllowList },
];

/** Applies every rule whose settings are sound. */
export function applyRules(context: RuleContext, failed: ReadonlySet<SettingKey>, findings: Findings): void {
  for (const { needs, check } of rules) if (!needs.some((key) => failed.has(key))) check(context, findings);
}

/** Names the setting as whoever set it did, or by its strongest name. */
function nameOf({ sources }: RuleContext, key: SettingKey): string {
  return sources[key].name ?? settings[key].env[0] ?? settings[key].file[0];
}

function demandServer({ values, servers }: RuleContext, findings: Findings): void {
  if (values.mode === 'development' || servers.failed) return;
  if (servers.servers.some(({ enabled }) => enabled !== false)) return;
  findings.problem(
    'No tool server is configured: set MCP_SERVER_<ID>=<url>, list servers in talos.config.yaml, or set DEV_MODE=true.',
  );
}

// Long enough to pass the length rule, and known to everybody who has read a sample file. Shorter ones need no list.
const wellKnownSecrets: ReadonlySet<string> = new Set([
  'changemeinprod',
  'changemeinproduction',
  'changemeplease',
  'pleasechangeme',
  'pleasechangemenow',
  'yoursecrethere',
  'yoursecretkeyhere',
  'yoursupersecretkey',
  'supersecretpassword',
  'supersecretadminpassword',
  'mysupersecretkey',
  'developmentsecret',
  'talosadminsecret',
  'adminsecretchangeme',
  'replacewithasecret',
  'insecuredefaultsecret',
  '0123456789abcdef',
  '1234567890123456',
]);

const distinctCharsMin = 5;

function demandAdminSecret(context: RuleContext, findings: Findings): void {
  if (context.values.mode === 'development') return;
  const secret = context.values.adminSecret?.reveal();
  const advice = `set it to at least ${bounds.adminSecretCharsMin} random characters (openssl rand -base64 32)`;
  const name = nameOf(context, 'adminSecret');
  if (secret === undefined) findings.problem(`${name} is missing, which production needs: ${advice}.`);
  else if (isWellKnown(secret)) findings.problem(`${name} is a placeholder that everybody knows: ${advice}.`);
  else if (secret.length < bounds.adminSecretCharsMin) findings.problem(`${name} is too short: ${advice}.`);
}

function isWellKnown(secret: string): boolean {
  const letters = secret.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  return wellKnownSecrets.has(letters) || new Set(secret).size < distinctCharsMin;
}

function guardExposure(context: RuleContext, findings: Findings): void {
  const { mode, bindHost, tlsCertFile, trustedProxies } = context.values;
  if (isLoopback(bindHost)) return;
  if (mode === 'development') {
    findings.warn(
      `DANGER: development mode on ${bindHost}: whoever reaches this port may call every tool without a credential.`,
    );
  } else if (tlsCertFile === undefined && trustedProxies.length === 0) {
    findings.problem(
      `${nameOf(context, 'bindHost')} is ${bindHost}, which others can reach without TLS: set TALOS_TLS_CERT_FILE and TALOS_TLS_KEY_FILE, or TALOS_TRUSTED_PROXIES when a proxy does TLS, or bind to 127.0.0.1.`,
    );
  }
}

function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.');
  return host.toLowerCase() === 'localhost' || host === '::1';
}

function pairTlsFiles(context: RuleContext, findings: Findings): void {
  const { tlsCertFile, tlsKeyFile } = context.values;
  if ((tlsCertFile === undefined) !== (tlsKeyFile === undefined)) {
    findings.problem('TALOS_TLS_CERT_FILE and TALOS_TLS_KEY_FILE go together: set both or neither.');
  }
  for (const key of ['tlsCertFile', 'tlsKeyFile'] as const) {
    const path = context.values[key];
    if (path === undefined || context.files.isReadable(path)) continue;
    findings.problem(`${nameOf(context, key)} names a file that cannot be read: ${path}.`);
  }
}

function keepCapabilities(context: RuleContext, findings: Findings): void {
  if (context.values.mode === 'development' || context.values.requireCapability !== false) return;
  const name = nameOf(context, 'requireCapability');
  findings.problem(`${name} cannot be false in production, where every call needs a capability: leave it out.`);
}

function missIssuers({ values }: RuleContext, findings: Findings): void {
  if (values.mode === 'development' || values.trustedIssuers.length > 0) return;
  findings.warn('TALOS_TRUSTED_ISSUERS is empty, so no capability is valid and every call is denied.');
}

/** Users are sent back to the gateway, and to an address that a request names they must not be. */
function missOwnAddress({ values, servers }: RuleContext, findings: Findings): void {
  if (values.publicUrl !== undefined) return;
  const nameless = servers.servers.filter(({ auth }) => auth?.type === 'oauth' && auth.clientId === undefined);
  const [first] = nameless;
  if (first === undefined) return;
  findings.warn(
    `Nobody can connect an account at ${first.id}: its auth has no client_id, and without TALOS_PUBLIC_URL the gateway cannot make itself known to an authorization server.`,
  );
}

function checkIpKey(context: RuleContext, findings: Findings): void {
  const { mode, auditIpHmacKey, auditIpHmacKeyId } = context.values;
  if (auditIpHmacKey === undefined) {
    if (auditIpHmacKeyId === undefined) return;
    findings.problem(`${nameOf(context, 'auditIpHmacKeyId')} names a key that is not set: set AUDIT_IP_HMAC_KEY too.`);
  } else if (mode === 'production' && auditIpHmacKey.reveal().length < bounds.ipHmacKeyCharsMin) {
    const name = nameOf(context, 'auditIpHmacKey');
    findings.problem(
      `${name} is too short for production: use at least ${bounds.ipHmacKeyCharsMin} random characters.`,
    );
  }
}

function checkPepper(context: RuleContext, findings: Findings): void {
  const { mode, apiKeyPepper } = context.values;
  if (mode === 'development' || apiKeyPepper === undefined) return;
  if (apiKeyPepper.reveal().length >= bounds.pepperCharsMin) return;
  const name = nameOf(context, 'apiKeyPepper');
  findings.problem(`${name} is too short for production: use at least ${bounds.pepperCharsMin} random characters.`);
}

function checkOidc(context: RuleContext, findings: Findings): void {
  const { mode, oidcIssuer, oidcAudience, oidcJwksUrl } = context.values;
  if (oidcIssuer === undefined) {
    const key = oidcJwksUrl === undefined ? 'oidcAudience' : 'oidcJwksUrl';
    if (context.values[key] === undefined) return;
    findings.problem(`${nameOf(context, key)} is of no use without an issuer: set TALOS_OIDC_ISSUER too.`);
    return;
  }
  if (oidcAudience === undefined) {
    findings.problem(`${nameOf(context, 'oidcIssuer')} needs the audience of its tokens: set TALOS_OIDC_AUDIENCE too.`);
  }
  for (const key of ['oidcIssuer', 'oidcJwksUrl'] as const) {
    const address = context.values[key];
    if (address === undefined || mode === 'development' || isProtected(new URL(address))) continue;
    findings.problem(`${nameOf(context, key)} must be an https:// address in production.`);
  }
}

function isProtected({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || isLoopback(hostname.replace(/^\[|\]$/g, ''));
}

function chooseLogKey(context: RuleContext, findings: Findings): void {
  const { logKeyFile, logKeyCommand } = context.values;
  if (logKeyFile === undefined || logKeyCommand === undefined) return;
  const names = `${nameOf(context, 'logKeyFile')} and ${nameOf(context, 'logKeyCommand')}`;
  findings.problem(`${names} both say where the key of the log is: keep one of them.`);
}

function orderWatermarks(context: RuleContext, findings: Findings): void {
  const { storeSizeWarn, storeSizeStop } = context.values;
  if (storeSizeWarn === undefined || storeSizeStop === undefined || storeSizeWarn < storeSizeStop) return;
  const [warn, stop] = [nameOf(context, 'storeSizeWarn'), nameOf(context, 'storeSizeStop')];
  findings.problem(`${warn} must be smaller than ${stop}, or nobody is warned.`);
}

function checkRoutes(context: RuleContext, findings: Findings): void {
  const surfaces = context.values.rateLimitRoutes.map((route) => route.split(' ', 1)[0]);
  if (new Set(surfaces).size === surfaces.length) return;
  findings.problem(`${nameOf(context, 'rateLimitRoutes')} gives a route two limits: keep one.`);
}

/** A witness that was counted twice would be a quorum of its own. */
function checkWitnesses(context: RuleContext, findings: Findings): void {
  const { logWitnesses, logWitnessQuorum } = context.values;
  const names = new Set(logWitnesses.map((witness) => witness.split('+', 1)[0]));
  const keys = new Set(logWitnesses.map((witness) => witness.split(' ', 1)[0]?.split('+').slice(2).join('+')));
  if (names.size < logWitnesses.length || keys.size < logWitnesses.length) {
    findings.problem(`${nameOf(context, 'logWitnesses')} lists a name or a key twice: each witness counts once.`);
  }
  if (logWitnesses.length > bounds.witnessesMax) {
    findings.problem(`${nameOf(context, 'logWitnesses')} lists more than ${bounds.witnessesMax} witnesses.`);
  }
  if (logWitnessQuorum === undefined || logWitnessQuorum <= logWitnesses.length) return;
  const name = nameOf(context, 'logWitnessQuorum');
  findings.problem(`${name} is ${logWitnessQuorum}, but there are ${logWitnesses.length} witnesses.`);
}

const otherMayWrite = 0o002;
const otherMayRead = 0o004;
const secretKeys: ReadonlySet<string> = new Set(
  Object.values(settings).flatMap((entry) => (entry.secret ? entry.file : [])),
);

function guardFile({ values, sources, file }: RuleContext, findings: Findings): void {
  if (file === undefined) return;
  // Its own word for development mode is worth nothing when everybody could have written it.
  const isTrusting = values.mode === 'development' && sources.mode.layer === 'env';
  if (!isTrusting && (file.mode & otherMayWrite) !== 0) {
    findings.problem(`${file.path} may be written by everybody, which only DEV_MODE=true allows: chmod o-w it.`);
  }
  if ((file.mode & otherMayRead) !== 0 && file.entries.some(({ key }) => secretKeys.has(key))) {
    findings.warn(`${file.path} holds a secret and may be read by everybody: chmod 600 it.`);
  }
}

/** A gateway that was told of a database must not quietly write its records into another one. */
function refuseReferences({ values, environment, file }: RuleContext, findings: Findings): void {
  if (values.databaseUrl !== undefined) return;
  for (const key of ['gateway.database_url_ref', 'audit.database_url_ref']) {
    const shown = environment.has(overrideName(key)) ? overrideName(key) : fileEntry(file, key)?.shown;
    if (shown !== undefined) findings.problem(`${shown} cannot be resolved: set DATABASE_URL to the address itself.`);
  }
}

function fileEntry(file: ConfigFile | undefined, key: string): ConfigFile['entries'][number] | undefined {
  return file?.entries.find((entry) => entry.key === key);
}

function checkVersion({ file }: RuleContext, findings: Findings): void {
  const version = fileEntry(file, 'config_version');
  // An unquoted 1.0 reaches us as the number 1.
  if (version === undefined || version.value === '1.0' || version.value === 1) return;
  findings.problem(`${version.shown} must be "1.0", the only version of that layout.`);
}

const parseAllowList = parseList(parseHttpUrl);

function keepToAllowList({ servers, file }: RuleContext, findings: Findings): void {
  const entry = fileEntry(file, 'mcp_connector.allowed_servers');
  if (entry === undefined) return;
  const parsed = parseAllowList(entry.value);
  if (!parsed.ok) {
    findings.problem(`${entry.shown} ${parsed.problem}.`);
    return;
  }
  const allowed = new Set(parsed.value.map((url) => new URL(url).href));
  for (const { id, url } of servers.servers) {
    if (url === undefined || allowed.has(new URL(url).href)) continue;
    findings.problem(
      `The tool server "${id}" is not on the list ${entry.shown}: add its address, or remove the server.`,
    );
  }
}
