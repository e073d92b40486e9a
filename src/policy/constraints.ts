/**
 * The constraints of a capability, compiled once into checks. All of them must hold, and one that this gateway does not
 * know, cannot enforce or cannot read is a check that never holds.
 */
import { bounds } from '../config/bounds.ts';
import { compileGlob, type Glob, globMatches } from '../core/glob.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
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

interface Compiled {
  readonly byName?: NameCheck;
  readonly byCall?: CallCheck;
  /** Why the constraint refuses every request. */
  readonly never?: string;
}

/** A compiler gives undefined when the value is not one that the constraint can have. */
type Compiler = (value: JsonValue) => Compiled | undefined;

export function compileConstraints(constraints: JsonObject): CompiledConstraints {
  const compiled = Object.entries(constraints).map(([name, value]) => compileOne(name, value));
  return {
    byName: compiled.flatMap(({ byName }) => byName ?? []),
    byCall: compiled.flatMap(({ byCall }) => byCall ?? []),
  };
}

/** Why a capability with this constraint would refuse every request; undefined when it can be met. */
export function constraintFault(name: string, value: JsonValue): string | undefined {
  return compileOne(name, value).never;
}

function compileOne(name: string, value: JsonValue): Compiled {
  const compiler = compilers.get(name);
  if (compiler === undefined) return never('constraint_unknown');
  return compiler(value) ?? never(`constraint_malformed:${name}`);
}

const holds: Compiled = {};

function never(detail: string): Compiled {
  return { never: detail, byName: () => detail };
}

function whenName(name: string, accepts: (request: ScopeRequest) => boolean): Compiled {
  const detail = `constraint:${name}`;
  return { byName: (request) => (accepts(request) ? undefined : detail) };
}

function whenCall(name: string, accepts: (tool: ToolFacts, args: JsonObject) => boolean): Compiled {
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
  // Known words that nothing here can enforce yet.
  ['rate_limit', () => never('constraint_unsupported:rate_limit')],
  ['max_calls', () => never('constraint_unsupported:max_calls')],
  ['input_schema', () => never('constraint_unsupported:input_schema')],
]);

/** The names that are understood; all others deny. */
export const constraintNames: readonly string[] = [...compilers.keys()];

function serverIs(name: string, value: JsonValue): Compiled | undefined {
  return isName(value) ? whenName(name, (request) => request.server === value) : undefined;
}

function methodIs(value: JsonValue): Compiled | undefined {
  return isName(value) ? whenName('method', (request) => request.method === value) : undefined;
}

function allowedTools(value: JsonValue): Compiled | undefined {
  if (!isTextList(value, bounds.constraintListItemsMax, bounds.constraintNameCharsMax)) return undefined;
  const allowed = new Set(value);
  return whenName('allowed_tools', (request) => request.method !== undefined && allowed.has(request.method));
}

// `false` demands that the caller proves possession of the subject's key, and there is no way to do that yet.
function bearer(value: JsonValue): Compiled | undefined {
  if (value === true) return holds;
  return value === false ? never('proof_of_possession_required') : undefined;
}

// A tool that nobody classified may write.
function readOnly(value: JsonValue): Compiled | undefined {
  if (value === false) return holds;
  return value === true ? whenCall('read_only', (tool) => tool.class === 'read') : undefined;
}

function hashIs(name: string, value: JsonValue, of: (tool: ToolFacts) => string | undefined): Compiled | undefined {
  const isHash = typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value);
  return isHash ? whenCall(name, (tool) => of(tool) === value) : undefined;
}

function pathsMatch(value: JsonValue): Compiled | undefined {
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
