/** What `talos grant` and `talos delegate` have in common: their options, read with the gateway's own rules. */
import type { Command } from 'commander';
import { bounds } from '../src/config/bounds.ts';
import { isSubject } from '../src/core/capability-forms.ts';
import { formatDuration, parseDuration } from '../src/core/duration.ts';
import { TalosError } from '../src/core/errors.ts';
import type { JsonObject, JsonValue } from '../src/core/json.ts';
import { scopeFault } from '../src/core/scope-sense.ts';
import { parseJsonStrict } from '../src/core/strict-json.ts';
import { createArgumentSchemas } from '../src/mcp/tools/argument-schema.ts';
import { constraintFault, constraintNames } from '../src/policy/constraints.ts';
import { isReadableByOthers } from './key-file.ts';
import { UsageError } from './usage-error.ts';

export interface TermOptions {
  readonly key: string;
  readonly subject: string;
  readonly ttl: string;
  readonly constraint?: readonly string[];
  readonly team?: string;
  readonly delegatable?: true;
}

/** Adds the options that both commands have, but for the key, whose owner differs. */
export function addTermOptions(command: Command): Command {
  return command
    .requiredOption('--subject <id>', 'who it is for, 1 to 200 characters')
    .option('--ttl <duration>', 'how long it is valid: 90s, 15m, 1h, 7d', '1h')
    .option('--constraint <name=value...>', 'a condition, its value as JSON or plain text; may be repeated')
    .option('--team <id>', 'the team it acts for')
    .option('--delegatable', 'allow the subject to pass it on');
}

export interface Terms {
  readonly subject: string;
  readonly ttlSec: number;
  readonly constraints?: JsonObject;
  readonly delegatable?: true;
}

/** Throws a `UsageError` for what no gateway would take. */
export function readTerms(options: TermOptions): Terms {
  const constraints = readConstraints(options);
  if (!isSubject(options.subject)) throw new UsageError(subjectSentence);
  return {
    subject: options.subject,
    ttlSec: readTtl(options.ttl),
    ...(Object.keys(constraints).length === 0 ? {} : { constraints }),
    ...(options.delegatable === undefined ? {} : { delegatable: options.delegatable }),
  };
}

const subjectSentence = '--subject must be 1 to 200 printable characters, and not "anonymous" or "gateway".';

export function readScopes(texts: readonly string[]): string {
  const [fault] = texts.flatMap((text) => scopeFault(text) ?? []);
  if (fault === undefined) return texts.join(' ');
  throw new UsageError(`--scope: ${fault}`);
}

/** The token that `sign` makes, within the bounds of gateways; what cannot be signed is a `UsageError`. */
export function signedWithin(sign: () => string): string {
  const token = explained(sign);
  if (token.length <= bounds.capabilityTokenCharsMax) return token;
  throw new UsageError(`The token has ${token.length} characters; gateways read ${bounds.capabilityTokenCharsMax}.`);
}

/** Warns on stderr of a key that others can read. */
export async function warnOfReadableKey(path: string): Promise<void> {
  if (await isReadableByOthers(path)) console.error(`warning: others can read ${path}; chmod 600 it.`);
}

function readTtl(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined) throw new UsageError(`--ttl ${text} is not a duration; write 90s, 15m, 1h or 7d.`);
  if (seconds <= bounds.capabilityTtlSecMax) return seconds;
  throw new UsageError(`--ttl ${text} is too long; the most is ${formatDuration(bounds.capabilityTtlSecMax)}.`);
}

function readConstraints(options: TermOptions): JsonObject {
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
  refuseFault(name, constraintFault(name, value, createArgumentSchemas()));
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
  if (fault === undefined) return;
  throw new UsageError(`The constraint ${name} cannot have this value; docs/capabilities.md lists what it takes.`);
}

function explained(sign: () => string): string {
  try {
    return sign();
  } catch (error) {
    if (error instanceof TalosError) throw new UsageError(error.message);
    throw error;
  }
}
