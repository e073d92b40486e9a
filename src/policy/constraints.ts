/**
 * The constraints of a capability, compiled once into checks. All of them must hold, and one that this gateway does not
 * know, cannot enforce or cannot read is a check that never holds.
 */
import { bounds } from '../config/bounds.ts';
import { type Denial, deny } from '../core/denial.ts';
import { compileGlob, type Glob, globMatches } from '../core/glob.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { parseRate } from '../core/rate.ts';
import type { ScopeRequest } from '../core/scope.ts';
import type { ToolClass } from '../core/tool-class.ts';
import { pathArguments } from './path-arguments.ts';

/** What the catalog and the registry know of a tool. */
export interface ToolFacts {
  readonly class: ToolClass;
  /** `sha256:` and the hex hash of the input schema; absent for what is not a tool. */
  readonly schemaHash?: string;
  /** `sha256:` and the hex hash of the whole definition; absent for what is not a tool. */
  readonly definitionHash?: string;
  /** Names of further arguments that hold paths. */
  readonly pathArguments?: readonly string[];
}

/** Each check answers with undefined when the constraint holds, else with the word for `meta.denial_detail`. */
export type NameCheck = (request: ScopeRequest) => string | undefined;
export type CallCheck = (tool: ToolFacts, args: JsonObject) => string | undefined;

export interface CompiledConstraints {
  /** What the names alone decide. */
  readonly byName: readonly NameCheck[];
  /** What needs the tool's definition or the arguments. */
  readonly byCall: readonly CallCheck[];
}

/** How often a capability may be used. The counters are shared by everybody who presents a chain with that link. */
export interface CallLimit {
  readonly kind: 'rate_limit' | 'max_calls';
  /** Calls in a period, or in all. */
  readonly count: number;
  /** How many of them may come at once. */
  readonly burst: number;
  /** The period in seconds; 0 of `max_calls`, which has none. */
  readonly perSec: number;
  /** Hash of the link whose constraint this is. */
  readonly id: string;
}

/** One constraint, compiled. */
export interface CompiledConstraint {
  readonly byName?: NameCheck;
  readonly byCall?: CallCheck;
  readonly limit?: CallLimit;
  /** Why the constraint refuses every request. */
  readonly never?: string;
}

export interface NamedConstraint {
  readonly name: string;
  readonly value: JsonValue;
  readonly compiled: CompiledConstraint;
}

/**
 * Compiles the JSON Schema of an `input_schema` constraint to a check of arguments. Undefined when it cannot be used:
 * invalid, too large, too deep, with a reference to elsewhere, or with an expression whose time nothing bounds.
 */
export type SchemaCompiler = (schema: JsonObject) => ((args: JsonObject) => boolean) | undefined;

export interface ConstraintContext {
  /** Hash of the link that carries the constraints. */
  readonly linkHash: string;
  /** Without one, a constraint that needs it refuses every request. */
  readonly compileSchema?: SchemaCompiler | undefined;
}

/** A compiler gives undefined when the value is not one that the constraint can have. */
type Compiler = (value: JsonValue, context: ConstraintContext) => CompiledConstraint | undefined;

export function compileConstraints(constraints: JsonObject, context: ConstraintContext): readonly NamedConstraint[] {
  return Object.entries(constraints).map(([name, value]) => ({
    name,
    value,
    compiled: compileOne(name, value, context),
  }));
}

/** Why a capability with this constraint would refuse every request; undefined when it can be met. */
export function constraintFault(name: string, value: JsonValue, compileSchema?: SchemaCompiler): string | undefined {
  return compileOne(name, value, { linkHash: '', compileSchema }).never;
}

/** The denial for the word that a check answered with. A tool that is not on the list is one that nobody knows. */
export function constraintDenial(detail: string): Denial {
  return deny(detail === 'constraint:allowed_tools' ? 'UNKNOWN_TOOL' : 'SCOPE_MISMATCH', detail);
}

function compileOne(name: string, value: JsonValue, context: ConstraintContext): CompiledConstraint {
  const compiler = compilers.get(name);
  if (compiler === undefined) return never('constraint_unknown');
  return compiler(value, context) ?? never(`constraint_malformed:${name}`);
}

const holds: CompiledConstraint = {};

function never(detail: string): CompiledConstraint {
  return { never: detail, byName: () => detail };
}

function whenName(name: string, accepts: (request: ScopeRequest) => boolean): CompiledConstraint {
  const detail = `constraint:${name}`;
  return { byName: (request) => (accepts(request) ? undefined : detail) };
}

function whenCall(name: string, accepts: (tool: ToolFacts, args: JsonObject) => boolean): CompiledConstraint {
  const detail = `constraint:${name}`;
  return { byCall: (tool, args) => (accepts(tool, args) ? undefined : detail) };
}

const compilers: ReadonlyMap<string, Compiler> = new Map<string, Compiler>([
  // Read with the token: the team of the records, and the clock.
  ['team_id', () => holds],
  ['nbf', () => holds],
  // Words as in a scope: `tool` is the server, `method` the tool. `server` says the same as `tool`.
  ['server', (value) => serverIs('server', value)],
  ['tool', (value) => serverIs('tool', value)],
  ['method', methodIs],
  ['allowed_tools', allowedTools],
  ['bearer', bearer],
  ['read_only', readOnly],
  ['paths', pathsMatch],
  ['schema_hash', (value) => hashIs('schema_hash', value, (tool) => tool.schemaHash)],
  ['definition_hash', (value) => hashIs('definition_hash', value, (tool) => tool.definitionHash)],
  ['input_schema', inputSchema],
  ['rate_limit', rateLimit],
  ['max_calls', maxCalls],
]);

/** The names that are understood; all others deny. */
export const constraintNames: readonly string[] = [...compilers.keys()];

function serverIs(name: string, value: JsonValue): CompiledConstraint | undefined {
  return isName(value) ? whenName(name, (request) => request.server === value) : undefined;
}

function methodIs(value: JsonValue): CompiledConstraint | undefined {
  return isName(value) ? whenName('method', (request) => request.method === value) : undefined;
}

function allowedTools(value: JsonValue): CompiledConstraint | undefined {
  if (!isTextList(value, bounds.constraintListItemsMax, bounds.constraintNameCharsMax)) return undefined;
  const allowed = new Set(value);
  return whenName('allowed_tools', (request) => request.method !== undefined && allowed.has(request.method));
}

// `false` demands that the caller proves possession of the subject's key, which is judged with the caller's identity.
function bearer(value: JsonValue): CompiledConstraint | undefined {
  return typeof value === 'boolean' ? holds : undefined;
}

function inputSchema(value: JsonValue, { compileSchema }: ConstraintContext): CompiledConstraint | undefined {
  if (compileSchema === undefined) return never('constraint_unsupported:input_schema');
  const accepts = isJsonObject(value) ? compileSchema(value) : undefined;
  return accepts && whenCall('input_schema', (_, args) => accepts(args));
}

function maxCalls(value: JsonValue, { linkHash }: ConstraintContext): CompiledConstraint | undefined {
  return isCount(value)
    ? { limit: { kind: 'max_calls', count: value, burst: value, perSec: 0, id: linkHash } }
    : undefined;
}

function rateLimit(value: JsonValue, { linkHash }: ConstraintContext): CompiledConstraint | undefined {
  const rate = typeof value === 'string' ? parseRate(value) : undefined;
  if (rate === undefined) return undefined;
  const { count, burst, periodMs } = rate;
  return { limit: { kind: 'rate_limit', count, burst, perSec: periodMs / 1000, id: linkHash } };
}

function isCount(value: JsonValue): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1;
}

// A tool that nobody classified may write.
function readOnly(value: JsonValue): CompiledConstraint | undefined {
  if (value === false) return holds;
  return value === true ? whenCall('read_only', (tool) => tool.class === 'read') : undefined;
}

function hashIs(
  name: string,
  value: JsonValue,
  of: (tool: ToolFacts) => string | undefined,
): CompiledConstraint | undefined {
  const isHash = typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value);
  return isHash ? whenCall(name, (tool) => of(tool) === value) : undefined;
}

function pathsMatch(value: JsonValue): CompiledConstraint | undefined {
  const globs = compilePathGlobs(value);
  return globs && whenCall('paths', (tool, args) => everyPathMatches(globs, pathArguments(args, tool.pathArguments)));
}

function compilePathGlobs(value: JsonValue): readonly Glob[] | undefined {
  const patterns = typeof value === 'string' ? [value] : value;
  if (!isTextList(patterns, bounds.pathGlobsMax, bounds.pathGlobCharsMax)) return undefined;
  // Arguments that are file URIs are compared as paths, so the globs are too.
  const globs = patterns.map((pattern) => compileGlob(pattern.replace(/^file:\/\/(?=\/)/, '')));
  return globs.every((glob) => glob !== undefined) ? globs : undefined;
}

// A call without any path cannot be inside the paths that are allowed.
function everyPathMatches(globs: readonly Glob[], paths: readonly string[] | undefined): boolean {
  if (paths === undefined || paths.length === 0) return false;
  return paths.every((path) => globs.some((glob) => globMatches(glob, path)));
}

function isName(value: JsonValue): value is string {
  return isText(value, bounds.constraintNameCharsMax);
}

function isText(value: JsonValue, charsMax: number): value is string {
  return typeof value === 'string' && value !== '' && value.length <= charsMax;
}

function isTextList(value: JsonValue, itemsMax: number, charsMax: number): value is readonly string[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > itemsMax) return false;
  return value.every((item) => isText(item, charsMax));
}
