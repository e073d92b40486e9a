/**
 * Compiles JSON Schemas of strangers: nothing they refer to is fetched, nothing they declare is remembered for another
 * schema, and compiling takes no unbounded time.
 */
import { Ajv, type AnySchemaObject, type Options, type ValidateFunction } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { canonicalize } from '../../core/canonical-json.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import { depthWithin } from '../protocol/json-depth.ts';
import { boundedPattern, strictPattern } from './schema-pattern.ts';
import { TimeLimitPassed, withinTime } from './time-limit.ts';

/** A schema that cannot be used, and why. */
export class UnusableSchema extends Error {}

type Dialect = '2020-12' | '2019-09' | 'draft-07';

export interface CompileMode {
  /** Find all faults and not only the first. */
  readonly allErrors: boolean;
  /**
   * For schemas that protect: what cannot be understood or checked in bounded time makes the schema unusable, or the
   * input wrong. Otherwise it counts as right, because the tool server checks again.
   */
  readonly strict: boolean;
}

/** Compilers of one mode, one for each dialect. */
export class SchemaCompilers {
  readonly #mode: CompileMode;
  readonly #bounds: McpBounds;
  readonly #compilers = new Map<Dialect, Compiler>();

  constructor(mode: CompileMode, bounds: McpBounds) {
    this.#mode = mode;
    this.#bounds = bounds;
  }

  /** Throws `UnusableSchema`. */
  compile(schema: JsonObject): ValidateFunction {
    try {
      assertUsable(schema, this.#bounds);
      return this.#compiler(dialectOf(schema)).compile(schema);
    } catch (error) {
      // The compiler's own words may quote the schema at length.
      throw error instanceof UnusableSchema ? error : new UnusableSchema(reasonOf(error));
    }
  }

  #compiler(dialect: Dialect): Compiler {
    const compiler = this.#compilers.get(dialect) ?? new Compiler(dialect, this.#mode, this.#bounds);
    this.#compilers.set(dialect, compiler);
    return compiler;
  }
}

/** What one ajv instance compiles before it is replaced: it keeps a part of every schema for as long as it lives. */
const compilationsMax = 500;
/** Where schemas live that were not fetched from anywhere. */
const idBase = 'https://schema.invalid/';

class Compiler {
  readonly #create: () => Ajv;
  readonly #compileMsMax: number;
  #ajv: Ajv;
  #compilations = 0;

  constructor(dialect: Dialect, mode: CompileMode, bounds: McpBounds) {
    this.#create = () => createAjv(dialect, mode, bounds.patternSubjectCharsMax);
    this.#compileMsMax = bounds.validatorCompileMsMax;
    this.#ajv = this.#create();
  }

  compile(schema: JsonObject): ValidateFunction {
    if (++this.#compilations > compilationsMax) this.#replace();
    // An identity of its own, forgotten at once: no schema can meet another one in the compiler's memory, nor pretend to
    // be a meta-schema.
    const identified: AnySchemaObject = { ...schema, $id: `${idBase}${this.#compilations}` };
    delete identified['$schema'];
    try {
      let attempts = 0;
      const compiled = withinTime(this.#compileMsMax, () => {
        if (attempts++ > 0) this.#replace();
        return this.#ajv.compile(identified);
      });
      this.#ajv.removeSchema(identified);
      return compiled;
    } catch (error) {
      // Whatever it was in the middle of is not to be gone on with; nor above, when it is begun anew.
      this.#replace();
      throw error;
    }
  }

  #replace(): void {
    this.#ajv = this.#create();
    this.#compilations = 1;
  }
}

const annotations = ['format', 'contentEncoding', 'contentMediaType', 'contentSchema'];
const classes = { '2020-12': Ajv2020, '2019-09': Ajv2019, 'draft-07': Ajv };

function createAjv(dialect: Dialect, { allErrors, strict }: CompileMode, subjectCharsMax: number): Ajv {
  const pattern = strict ? strictPattern : boundedPattern;
  const regExp = Object.assign((source: string) => pattern(source, subjectCharsMax), { code: 'boundedPattern' });
  const options: Options = {
    allErrors,
    strictSchema: strict,
    strictNumbers: strict,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    logger: false,
    validateFormats: false,
    // A property that every object inherits (`constructor`) is not one that the caller gave.
    ownProperties: true,
    // A schema that refers a thousand times to a large part of itself would become a thousand copies of it.
    inlineRefs: false,
    code: { regExp },
  };
  const ajv: Ajv = new classes[dialect](options);
  // What is not enforced is not understood.
  if (strict) for (const keyword of annotations) refuseKeyword(ajv, keyword);
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

/** The meta-schemas, which are compiled by the same instance, may use it. */
function refuseKeyword(ajv: Ajv, keyword: string): void {
  ajv.removeKeyword(keyword);
  ajv.addKeyword({
    keyword,
    compile: (_value, _parent, { baseId }) => {
      if (baseId.startsWith(idBase)) throw new Error(`${keyword} is not enforced`);
      return () => true;
    },
  });
}

function areUnique(items: readonly JsonValue[]): boolean {
  return new Set(items.map((item) => canonicalize(item))).size === items.length;
}

// Each part of a schema meets each part of an input once at most, which is quick for as many as this; unless one part
// stands for many because it is referred to, or a part is an expression.
const quickStepsMax = 1e6;
const unbounded = /"(?:\$ref|\$dynamicRef|\$recursiveRef|pattern|patternProperties)":/;

/** How large an input may be before checking it may take long: 0 when the schema refers to parts of itself. */
export function quickBytesMax(schema: JsonObject): number {
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
