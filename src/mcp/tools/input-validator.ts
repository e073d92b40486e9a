/**
 * Validates arguments, and structured results, against the schemas of tools. Schemas come from strangers: nothing they refer to is fetched,
 * nothing they declare is remembered for another schema, and neither compiling nor checking may take unbounded time.
 */
import type { ValidateFunction } from 'ajv';
import type { JsonObject, JsonValue } from '../../core/json.ts';
import { LruMap } from '../../core/lru-map.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import { quickBytesMax, SchemaCompilers, UnusableSchema } from './schema-compiler.ts';
import { TimeLimitPassed, withinTime } from './time-limit.ts';
import { sentenceOf } from './validation-sentence.ts';

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
  readonly #checks: SchemaCompilers;
  readonly #explanations: SchemaCompilers;
  readonly #compiled: LruMap<Compiled | UnusableSchema>;

  constructor(bounds: McpBounds) {
    this.#bounds = bounds;
    this.#checks = new SchemaCompilers({ allErrors: false, strict: false }, bounds);
    this.#explanations = new SchemaCompilers({ allErrors: true, strict: false }, bounds);
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
    const run = this.#runOf(compiled, bytes, input);
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

  /** What is wrong with a structured result: the caller gets it all the same, and nothing of it is told. */
  resultFault(schema: JsonObject, schemaHash: string, result: JsonValue): 'mismatch' | 'unchecked' | undefined {
    const compiled = this.#compiledFor(schema, schemaHash);
    if (compiled instanceof UnusableSchema) return 'unchecked';
    try {
      const run = this.#runOf(compiled, JSON.stringify(result).length, result);
      return run(compiled.check) ? undefined : 'mismatch';
    } catch (error) {
      if (error instanceof TimeLimitPassed || error instanceof RangeError) return 'unchecked';
      throw error;
    }
  }

  #runOf({ quickBytesMax }: Compiled, bytes: number, value: unknown): Run {
    const isQuick = bytes <= quickBytesMax;
    return (check) => (isQuick ? check(value) : withinTime(this.#bounds.validationMsMax, () => check(value)));
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
      return { check: this.#checks.compile(schema), quickBytesMax: quickBytesMax(schema) };
    } catch (error) {
      if (error instanceof UnusableSchema) return error;
      throw error;
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
      return this.#explanations.compile(schema);
    } catch (error) {
      if (error instanceof UnusableSchema) return undefined;
      throw error;
    }
  }
}
