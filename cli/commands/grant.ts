/** `talos grant`: signs a capability. The token is all that goes to stdout, so that it can be piped. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Command } from 'commander';
import { bounds } from '../../src/config/bounds.ts';
import { isSubject } from '../../src/core/capability-claims.ts';
import { grantCapability } from '../../src/core/capability-grant.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { didKeyFromPublicKey } from '../../src/core/did.ts';
import { formatDuration, parseDuration } from '../../src/core/duration.ts';
import { TalosError } from '../../src/core/errors.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { parseScope } from '../../src/core/scope.ts';
import { parseJsonStrict } from '../../src/core/strict-json.ts';
import { constraintFault, constraintNames } from '../../src/policy/constraints.ts';
import { isReadableByOthers, readKeyFile } from '../key-file.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface GrantOptions {
  readonly key: string;
  readonly subject: string;
  readonly scope: readonly string[];
  readonly ttl: string;
  readonly constraint?: readonly string[];
  readonly team?: string;
  readonly delegatable?: true;
}

/** `clock` gives the time of issue. */
export function grantCommand(program: Command, clock: Clock = systemClock): void {
  const grant = program
    .command('grant')
    .description('Sign a capability and print the token.')
    .requiredOption('--key <file>', 'the private key of the issuer')
    .requiredOption('--subject <id>', 'who it is for, 1 to 200 characters')
    .requiredOption('--scope <scope...>', 'what it allows: tool:<server>[/method:<tool>]; may be repeated')
    .option('--ttl <duration>', 'how long it is valid: 90s, 15m, 1h, 7d', '1h')
    .option('--constraint <name=value...>', 'a condition, its value as JSON or plain text; may be repeated')
    .option('--team <id>', 'the team it acts for')
    .option('--delegatable', 'allow the subject to pass it on');
  grant.action(reportingUsage(grant, (options: GrantOptions) => printToken(options, clock)));
}

async function printToken(options: GrantOptions, clock: Clock): Promise<void> {
  const ttlSec = readTtl(options.ttl);
  const scope = readScopes(options.scope);
  const constraints = readConstraints(options);
  if (!isSubject(options.subject)) throw new UsageError(subjectSentence);
  const privateKey = await readKeyFile(options.key);
  console.log(sign(privateKey, { ...options, scope, constraints, ttlSec }, clock));
  await remark(options, constraints, ttlSec);
}

const subjectSentence = '--subject must be 1 to 200 printable characters, and not "anonymous" or "gateway".';

interface SignOptions {
  readonly subject: string;
  readonly scope: string;
  readonly constraints: JsonObject;
  readonly ttlSec: number;
  readonly delegatable?: true;
}

function sign(privateKey: KeyObject, options: SignOptions, clock: Clock): string {
  const { subject, scope, constraints, ttlSec, delegatable } = options;
  const token = grantOrRefuse(() =>
    grantCapability({
      privateKey,
      issuer: didKeyFromPublicKey(createPublicKey(privateKey)),
      subject,
      scope,
      nowSec: Math.floor(clock.now() / 1000),
      ttlSec,
      ...(Object.keys(constraints).length === 0 ? {} : { constraints }),
      ...(delegatable === undefined ? {} : { delegatable }),
    }),
  );
  if (token.length <= bounds.capabilityTokenCharsMax) return token;
  throw new UsageError(`The token has ${token.length} characters; gateways read ${bounds.capabilityTokenCharsMax}.`);
}

function grantOrRefuse(grant: () => string): string {
  try {
    return grant();
  } catch (error) {
    if (error instanceof TalosError) throw new UsageError(error.message);
    throw error;
  }
}

function readTtl(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined) throw new UsageError(`--ttl ${text} is not a duration; write 90s, 15m, 1h or 7d.`);
  if (seconds <= bounds.capabilityTtlSecMax) return seconds;
  throw new UsageError(`--ttl ${text} is too long; the most is ${formatDuration(bounds.capabilityTtlSecMax)}.`);
}

function readScopes(texts: readonly string[]): string {
  const wrong = texts.find((text) => parseScope(text) === undefined);
  if (wrong === undefined) return texts.join(' ');
  throw new UsageError(
    `--scope ${wrong} is not a scope; write tool:<server>, tool:<server>/method:<tool> or tool:*, with % / : * in names percent-encoded.`,
  );
}

function readConstraints(options: GrantOptions): JsonObject {
  const constraints = new Map<string, JsonValue>();
  for (const text of options.constraint ?? []) addConstraint(constraints, text);
  if (options.team !== undefined) addConstraint(constraints, `team_id=${JSON.stringify(options.team)}`);
  return Object.fromEntries(constraints);
}

function addConstraint(constraints: Map<string, JsonValue>, text: string): void {
  const [, name, valueText] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || valueText === undefined) throw new UsageError(`--constraint ${text} is not name=value.`);
  if (constraints.has(name)) throw new UsageError(`The constraint ${name} is given twice.`);
  const value = readValue(name, valueText);
  refuseFault(name, constraintFault(name, value));
  constraints.set(name, value);
}

// What begins like JSON must be JSON: a forgotten bracket must not become a text that is signed.
const jsonStart = /^(?:[[{"]|-?[0-9]+(?:\.[0-9]+)?$|(?:true|false|null)$)/;

function readValue(name: string, text: string): JsonValue {
  if (!jsonStart.test(text)) return text;
  try {
    return parseJsonStrict(text);
  } catch (error) {
    if (error instanceof TalosError) throw new UsageError(`The value of the constraint ${name}: ${error.message}`);
    throw error;
  }
}

function refuseFault(name: string, fault: string | undefined): void {
  if (fault === 'constraint_unknown') {
    throw new UsageError(`The constraint ${name} is not known; known are ${constraintNames.join(', ')}.`);
  }
  if (fault?.startsWith('constraint_malformed') !== true) return;
  throw new UsageError(`The constraint ${name} cannot have this value; docs/capabilities.md lists what it takes.`);
}

async function remark(options: GrantOptions, constraints: JsonObject, ttlSec: number): Promise<void> {
  console.error(`Granted to ${options.subject} for ${formatDuration(ttlSec)}: ${options.scope.join(', ')}.`);
  for (const [name, value] of Object.entries(constraints)) {
    if (constraintFault(name, value) === undefined) continue;
    console.error(
      `warning: this gateway cannot enforce the constraint ${name} and refuses every call that carries it.`,
    );
  }
  if (await isReadableByOthers(options.key)) console.error(`warning: others can read ${options.key}; chmod 600 it.`);
}
