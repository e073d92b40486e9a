/**
 * JSON Schemas that capabilities demand of arguments. Where the schema of a tool is lenient, these are not: whatever cannot
 * be understood or checked within bounds lets nothing through.
 */
import { bounds } from '../../config/bounds.ts';
import type { JsonObject } from '../../core/json.ts';
import { mcpBounds } from '../mcp-bounds.ts';
import { quickBytesMax, SchemaCompilers, UnusableSchema } from './schema-compiler.ts';
import { TimeLimitPassed, withinTime } from './time-limit.ts';

/** Whether arguments satisfy the schema. */
export type ArgumentCheck = (args: JsonObject) => boolean;

/** Compiles a schema to a check, or to undefined when it cannot be used. */
export function createArgumentSchemas(): (schema: JsonObject) => ArgumentCheck | undefined {
  const compilers = new SchemaCompilers(
    { allErrors: false, strict: true },
    { ...mcpBounds, validatorCompileMsMax: bounds.constraintSchemaCompileMsMax },
  );
  return (schema) => {
    try {
      const check = compilers.compile(schema);
      const quickMax = quickBytesMax(schema);
      return (args) => (JSON.stringify(args).length <= quickMax ? check(args) : checkWithin(() => check(args)));
    } catch (error) {
      if (error instanceof UnusableSchema) return undefined;
      throw error;
    }
  };
}

/** Arguments that take too long to check, or overflow the stack, do not satisfy. */
function checkWithin(check: () => boolean): boolean {
  try {
    return withinTime(mcpBounds.validationMsMax, check);
  } catch (error) {
    if (error instanceof TimeLimitPassed || error instanceof RangeError) return false;
    throw error;
  }
}
