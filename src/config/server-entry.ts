/**
 * One entry of `servers` in the file, read key by key into a specification. Header and environment values are secrets:
 * they print as `[secret]`, are never quoted, and may name variables as `${NAME}` so that the file need not hold them.
 */
import { parseDuration } from '../core/duration.ts';
import type { Rate } from '../core/gcra.ts';
import { type McpServerSpec, type McpTransport, mcpTransports, specProblems } from '../core/mcp-server.ts';
import { parseRate } from '../core/rate.ts';
import { secretNamePattern } from '../core/secret-change.ts';
import { secretReference } from '../core/secret-reference.ts';
import { type PinMode, pinModes } from '../core/tool-pin.ts';
import { bounds } from './bounds.ts';
import { isMap } from './config-file.ts';
import type { Environment } from './env.ts';
import type { Findings } from './findings.ts';
import { suggest } from './nearest.ts';
import {
  type Parsed,
  type Parser,
  parseBoolean,
  parseHttpUrl,
  parseInteger,
  parseList,
  parsePath,
  parseSize,
  parseText,
  parseWord,
} from './parse.ts';
import { secretRecord } from './secret.ts';
import { parseServerAuth } from './server-auth-entry.ts';

export interface ServerEntry {
  readonly shown: string;
  readonly id: unknown;
  readonly fields: Record<string, unknown>;
}

type Draft = Partial<Record<keyof McpServerSpec, unknown>>;

const parseTransport: Parser<McpTransport> = (raw) => {
  const value = mcpTransports.find((transport) => transport === raw);
  return value === undefined
    ? { ok: false, problem: `must be one of ${mcpTransports.join(', ')}` }
    : { ok: true, value };
};

const parsePins: Parser<PinMode> = (raw) => {
  const value = pinModes.find((mode) => mode === raw);
  return value === undefined ? { ok: false, problem: `must be one of ${pinModes.join(', ')}` } : { ok: true, value };
};

const callTimeoutSecMax = 3_600;

/** Seconds as a number, or text such as `90s` or `5m`; gives milliseconds. */
const parseCallTimeout: Parser<number> = (raw) => {
  const seconds = typeof raw === 'string' ? (parseDuration(raw) ?? Number.NaN) : raw;
  const fits = typeof seconds === 'number' && seconds >= 0.001 && seconds <= callTimeoutSecMax;
  return fits
    ? { ok: true, value: Math.round(seconds * 1000) }
    : { ok: false, problem: `must be 0.001 to ${callTimeoutSecMax} seconds, as a number or as text such as "90s"` };
};

const parseServerRate: Parser<Rate> = (raw) => {
  const value = typeof raw === 'string' ? parseRate(raw) : undefined;
  return value === undefined
    ? { ok: false, problem: 'must be a rate such as "100/hour" or "20/second burst 40"' }
    : { ok: true, value };
};

/** Text of any length without the control characters that neither headers nor processes can carry. */
const parseArgument: Parser<string> = (raw) =>
  typeof raw === 'string' && !raw.includes('\0')
    ? { ok: true, value: raw }
    : { ok: false, problem: 'must hold text only: put numbers and words like true into quotes' };

const parseArguments: Parser<readonly string[]> = (raw) => {
  if (!Array.isArray(raw)) return { ok: false, problem: 'must be a list' };
  const refused = raw.map(parseArgument).find((parsed) => !parsed.ok);
  return refused === undefined || refused.ok ? { ok: true, value: raw } : refused;
};

/**
 * A map of secret texts, in which `${NAME}` stands for a variable of the gateway's environment. `${secret:name}` stays, and
 * is filled in when the server is spoken to.
 */
function parseSecretMap(env: Environment): Parser<Readonly<Record<string, string>>> {
  return (raw) => {
    if (!isMap(raw)) return { ok: false, problem: 'must be a map of names and texts' };
    const filled: Record<string, string> = {};
    for (const [name, text] of Object.entries(raw)) {
      const parsed = parseSecretText(text, env);
      if (!parsed.ok) return { ok: false, problem: `${parsed.problem} (at "${name}")` };
      filled[name] = parsed.value;
    }
    return { ok: true, value: secretRecord(filled) };
  };
}

function parseSecretText(text: unknown, env: Environment): Parsed<string> {
  return isMap(text) ? referred(text) : fillIn(text, env);
}

/** `{ secret: name }`, which says the same as `${secret:name}`. */
function referred(given: Record<string, unknown>): Parsed<string> {
  const { secret: name, ...others } = given;
  const isReference = typeof name === 'string' && secretNamePattern.test(name) && Object.keys(others).length === 0;
  return isReference
    ? { ok: true, value: secretReference(name) }
    : { ok: false, problem: 'must hold texts, or a map with the key "secret" and the name of one' };
}

function fillIn(text: unknown, env: Environment): Parsed<string> {
  const parsed = parseArgument(text);
  if (!parsed.ok) return parsed;
  const names = [...parsed.value.matchAll(/\$\{([A-Z_][A-Z0-9_]*)\}/g)].map(([, name]) => name ?? '');
  const missing = names.find((name) => (env[name] ?? '') === '');
  if (missing !== undefined) return { ok: false, problem: `needs the variable ${missing}, which is not set` };
  return {
    ok: true,
    value: parsed.value.replaceAll(/\$\{([A-Z_][A-Z0-9_]*)\}/g, (_, name: string) => env[name] ?? ''),
  };
}

interface Field {
  readonly to: keyof McpServerSpec;
  readonly parse: Parser<unknown>;
}

function serverFields(env: Environment): Readonly<Record<string, Field>> {
  return {
    name: { to: 'name', parse: parseText },
    transport: { to: 'transport', parse: parseTransport },
    url: { to: 'url', parse: parseHttpUrl },
    headers: { to: 'headers', parse: parseSecretMap(env) },
    auth: { to: 'auth', parse: parseServerAuth((text) => parseSecretText(text, env)) },
    command: { to: 'command', parse: parsePath },
    args: { to: 'args', parse: parseArguments },
    env: { to: 'env', parse: parseSecretMap(env) },
    cwd: { to: 'cwd', parse: parsePath },
    call_timeout: { to: 'callTimeoutMs', parse: parseCallTimeout },
    max_concurrency: {
      to: 'maxConcurrency',
      parse: parseInteger(1, bounds.upstreamConcurrencyMax, 'a number of calls'),
    },
    max_queue: { to: 'maxQueue', parse: parseInteger(0, bounds.upstreamConcurrencyMax, 'a number of calls') },
    max_sessions: { to: 'maxSessions', parse: parseInteger(1, bounds.upstreamSessionsLimit, 'a number of sessions') },
    sessions: { to: 'sessions', parse: parseWord({ dedicated: 'dedicated', shared: 'shared' }) },
    max_memory: { to: 'maxMemoryBytes', parse: parseSize(bounds.stdioMemoryBytesMin) },
    max_open_files: {
      to: 'maxOpenFiles',
      parse: parseInteger(bounds.stdioOpenFilesMin, bounds.stdioOpenFilesMax, 'a number of files'),
    },
    rate_limit: { to: 'rateLimit', parse: parseServerRate },
    pins: { to: 'pins', parse: parsePins },
    tags: { to: 'tags', parse: parseList(parseText) },
    enabled: { to: 'enabled', parse: parseBoolean },
  };
}

/** Keys that an entry of `servers` may hold. */
export const serverKeys: readonly string[] = ['id', ...Object.keys(serverFields({}))];

/** The specification of an entry, or undefined when it is refused; why goes to `findings`. */
export function readServer(entry: ServerEntry, env: Environment, findings: Findings): McpServerSpec | undefined {
  const before = findings.problems.length;
  const draft = readFields(entry, serverFields(env), findings);
  const transport = draft.transport ?? (draft.command === undefined ? 'auto' : 'stdio');
  // Each field came from its own parser, so the draft has the types of the specification.
  const spec = { name: entry.id, ...draft, id: entry.id, transport } as McpServerSpec;
  const problems = findings.problems.length > before ? [] : [...kindProblems(spec), ...specProblems(spec)];
  for (const problem of problems) findings.problem(`${entry.shown}: ${problem}.`);
  return findings.problems.length > before ? undefined : spec;
}

function readFields(entry: ServerEntry, fields: Readonly<Record<string, Field>>, findings: Findings): Draft {
  const draft: Draft = {};
  for (const [key, raw] of Object.entries(entry.fields)) {
    if (key === 'id' || raw === null) continue;
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
    const parsed = field?.parse(raw);
    if (field === undefined)
      findings.problem(`${entry.shown}: "${key}" is not a key of a server. ${suggest(key, serverKeys)}`);
    else if (parsed?.ok) draft[field.to] = parsed.value;
    else findings.problem(`${entry.shown}: ${key} ${parsed?.problem}.`);
  }
  return draft;
}

/** Keys of one kind of server in an entry of the other: one of them is a mistake, and guessing which is worse. */
function kindProblems(spec: McpServerSpec): string[] {
  const foreign: readonly (keyof McpServerSpec)[] =
    spec.transport === 'stdio'
      ? ['url', 'headers', 'auth']
      : ['command', 'args', 'env', 'cwd', 'maxMemoryBytes', 'maxOpenFiles'];
  return foreign
    .filter((key) => spec[key] !== undefined)
    .map((key) => `${keyOf(key)} does not go with the transport "${spec.transport}"`);
}

/** As the file spells it. */
function keyOf(field: keyof McpServerSpec): string {
  const found = Object.entries(serverFields({})).find(([, { to }]) => to === field);
  return found?.[0] ?? field;
}
