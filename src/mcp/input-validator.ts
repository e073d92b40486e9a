/**
 * Validates arguments against the input schemas of tools. Schemas come from strangers: nothing they refer to is fetched,
 * nothing they declare is remembered for another schema, and neither compiling nor checking may take unbounded time.
 */
import { Ajv, type AnySchemaObject, type Options, type ValidateFunction } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { canonicalize } from '../core/canonical-json.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { LruMap } from '../core/lru-map.ts';
import { depthWithin } from './json-depth.ts';
import type { McpBounds } from './mcp-bounds.ts';
import { boundedPattern } from './schema-pattern.ts';
import { TimeLimitPassed, withinTime } from './time-limit.ts';
import { sentenceOf } from './validation-sentence.ts';

/** A schema that cannot be used, and why. */
class UnusableSchema extends Error {}

type Dialect = '2020-12' | '2019-09' | 'draft-07';

interface Compiled {
  /** How large an input may be before checking it may take long: 0 when the schema refers to parts of itself. */
  readonly quickBytesMax: number;
  /** Stops at the first fault. */
  readonly check: ValidateFunction;
  /** Finds all faults; made when the first one is to be explained. */
  explain?: ValidateFunction;
}

/** Puts the input to a check, for as long as that may take. */
type Run = (check: ValidateFunction) => boolean;

export class InputValidators {
  readonly #bounds: McpBounds;
  readonly #compilers: Record<'check' | 'explain', Map<Dialect, Compiler>> = { check: new Map(), explain: new Map() };
  readonly #compiled: LruMap<Compiled | UnusableSchema>;

  constructor(bounds: McpBounds) {
    this.#bounds = bounds;
    this.#compiled = new LruMap(bounds.validatorCacheEntriesMax);
  }

  /**
   * What is wrong with `input`, one sentence each, at most `validationErrorsMax`; empty when nothing is. A schema that
   * cannot be used lets nothing through. `schemaHash` is the key under which the compiled schema is kept.
   */
  validate(schema: JsonObject, schemaHash: string, input: unknown): string[] {
    const compiled = this.#compiledFor(schema, schemaHash);
    if (compiled instanceof UnusableSchema) return [`the tool's input schema cannot be used: ${compiled.message}`];
    const bytes = JSON.stringify(input).length;
    const isQuick = bytes <= compiled.quickBytesMax;
    const run: Run = (check) => (isQuick ? check(input) : withinTime(this.#bounds.validationMsMax, () => check(input)));
    try {
      return run(compiled.check) ? [] : this.#explain(schema, compiled, bytes, run);
    } catch (error) {
      if (error instanceof TimeLimitPassed) return ['checking the input against the schema of the tool takes too long'];
      // A schema that refers to itself without end overflows the stack; the input is not at fault.
      if (error instanceof RangeError)
        return ["the tool's input schema cannot be used: it refers to itself without end"];
      throw error;
    }
  }

  #compiledFor(schema: JsonObject, schemaHash: string): Compiled | UnusableSchema {
    const known = this.#compiled.get(schemaHash);
    if (known !== undefined) return known;
    const compiled = this.#compile(schema);
    this.#compiled.set(schemaHash, compiled);
    return compiled;
  }

  #compile(schema: JsonObject): Compiled | UnusableSchema {
    try {
      assertUsable(schema, this.#bounds);
      const check = this.#compiler('check', dialectOf(schema)).compile(schema);
      return { check, quickBytesMax: quickBytesMax(schema) };
    } catch (error) {
      if (error instanceof UnusableSchema) return error;
      // The compiler's own words may quote the schema at length.
      return new UnusableSchema(reasonOf(error));
    }
  }

  /** All faults cost time and memory in proportion to the input, so a large input is told its first fault only. */
  #explain(schema: JsonObject, compiled: Compiled, bytes: number, run: Run): string[] {
    let faulty = compiled.check;
    if (bytes <= this.#bounds.validationExplainBytesMax) {
      compiled.explain ??= this.#explainer(schema) ?? compiled.check;
      faulty = compiled.explain;
      run(faulty);
    }
    const sentences = new Set((faulty.errors ?? []).map(sentenceOf).filter((sentence) => sentence !== undefined));
    return [...sentences].slice(0, this.#bounds.validationErrorsMax);
  }

  /** Nothing when it would take too long to make: then the first fault must do. */
  #explainer(schema: JsonObject): ValidateFunction | undefined {
    try {
      return this.#compiler('explain', dialectOf(schema)).compile(schema);
    } catch (error) {
      if (error instanceof TimeLimitPassed || error instanceof RangeError) return undefined;
      throw error;
    }
  }

  #compiler(purpose: 'check' | 'explain', dialect: Dialect): Compiler {
    const compilers = this.#compilers[purpose];
    const compiler = compilers.get(dialect) ?? new Compiler(dialect, purpose === 'explain', this.#bounds);
    compilers.set(dialect, compiler);
    return compiler;
  }
}

/** What one ajv instance compiles before it is replaced: it keeps a part of every schema for as long as it lives. */
const compilationsMax = 500;

class Compiler {
  readonly #create: () => Ajv;
  readonly #compileMsMax: number;
  #ajv: Ajv;
  #compilations = 0;

  constructor(dialect: Dialect, allErrors: boolean, bounds: McpBounds) {
    this.#create = () => createAjv(dialect, allErrors, bounds.patternSubjectCharsMax);
    this.#compileMsMax = bounds.validatorCompileMsMax;
    this.#ajv = this.#create();
  }

  compile(schema: JsonObject): ValidateFunction {
    if (++this.#compilations > compilationsMax) this.#replace();
    // An identity of its own, forgotten at once: no schema can meet another one in the compiler's memory, nor pretend to
    // be a meta-schema.
    const identified: AnySchemaObject = { ...schema, $id: `https://schema.invalid/${this.#compilations}` };
    delete identified['$schema'];
    try {
      const compiled = withinTime(this.#compileMsMax, () => this.#ajv.compile(identified));
      this.#ajv.removeSchema(identified);
      return compiled;
    } catch (error) {
      // Whatever it was in the middle of is not to be gone on with.
      this.#replace();
      throw error;
    }
  }

  #replace(): void {
    this.#ajv = this.#create();
    this.#compilations = 1;
  }
}

const classes = { '2020-12': Ajv2020, '2019-09': Ajv2019, 'draft-07': Ajv };

function createAjv(dialect: Dialect, allErrors: boolean, subjectCharsMax: number): Ajv {
  const regExp = Object.assign((source: string) => boundedPattern(source, subjectCharsMax), { code: 'boundedPattern' });
  const options: Options = {
    allErrors,
    strict: false,
    logger: false,
    validateFormats: false,
    // A property that every object inherits (`constructor`) is not one that the caller gave.
    ownProperties: true,
    // A schema that refers a thousand times to a large part of itself would become a thousand copies of it.
    inlineRefs: false,
    code: { regExp },
  };
  const ajv: Ajv = new classes[dialect](options);
  // Ajv compares every item with every other.
  ajv.removeKeyword('uniqueItems');
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    validate: (wanted: boolean, items: readonly JsonValue[]) => !wanted || areUnique(items),
    error: { message: 'must NOT have duplicate items' },
  });
  return ajv;
}

function areUnique(items: readonly JsonValue[]): boolean {
  return new Set(items.map((item) => canonicalize(item))).size === items.length;
}

// Each part of a schema meets each part of an input once at most, which is quick for as many as this; unless one part
// stands for many because it is referred to, or a part is an expression.
const quickStepsMax = 1e6;
const unbounded = /"(?:\$ref|\$dynamicRef|\$recursiveRef|pattern|patternProperties)":/;

function quickBytesMax(schema: JsonObject): number {
  const text = JSON.stringify(schema);
  return unbounded.test(text) ? 0 : quickStepsMax / text.length;
}

function assertUsable(schema: JsonObject, bounds: McpBounds): void {
  if (!depthWithin(schema, bounds.toolSchemaDepthMax))
    throw new UnusableSchema(`it is nested more than ${bounds.toolSchemaDepthMax} levels deep`);
  if (Buffer.byteLength(JSON.stringify(schema)) > bounds.toolSchemaBytesMax) {
    throw new UnusableSchema(`it is larger than ${bounds.toolSchemaBytesMax} bytes`);
  }
  // An asynchronous validator answers with a promise, and a promise is truthy.
  if (schema['$async'] !== undefined) throw new UnusableSchema('it is asynchronous');
  if (Object.values(schema).some(declaresId)) throw new UnusableSchema('a part of it has an $id of its own');
}

function declaresId(part: JsonValue): boolean {
  if (Array.isArray(part)) return part.some(declaresId);
  if (!isJsonObject(part)) return false;
  const id = part['$id'];
  return (typeof id === 'string' && !id.startsWith('#')) || Object.values(part).some(declaresId);
}

const dialects: readonly (readonly [RegExp, Dialect])[] = [
  [/^https?:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/, '2020-12'],
  [/^https?:\/\/json-schema\.org\/draft\/2019-09\/schema#?$/, '2019-09'],
  [/^https?:\/\/json-schema\.org\/draft-0[67]\/schema#?$/, 'draft-07'],
];

/** MCP: 2020-12 unless the schema says otherwise. */
function dialectOf(schema: JsonObject): Dialect {
  const { $schema } = schema;
  if ($schema === undefined) return '2020-12';
  const known = dialects.find(([pattern]) => typeof $schema === 'string' && pattern.test($schema));
  if (known === undefined)
    throw new UnusableSchema('it is written in a dialect of JSON Schema that the gateway does not know');
  return known[1];
}

function reasonOf(error: unknown): string {
  // The compiler ran out of stack or time.
  if (error instanceof RangeError || error instanceof TimeLimitPassed)
    return 'it is too complicated, or refers to itself without end';
  const text = error instanceof Error ? error.message : String(error);
  if (/can't resolve reference/.test(text)) return 'it refers to something outside of itself';
  return `it is not valid JSON Schema (${text.slice(0, 200)})`;
}
