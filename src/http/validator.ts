/** Checks what arrives against the schemas of the routes. Nothing is coerced but the numbers of a query, which arrive as text. */
import type { FastifySchemaCompiler } from 'fastify';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';

export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const type = Compile(schema);
  const numbers = httpPart === 'querystring' ? numericKeys(schema) : [];
  return (value: unknown) => {
    const read = numbers.length === 0 ? value : withNumbers(value, numbers);
    return type.Check(read) ? { value: read } : { error: type.Errors(telling(schema, read)) as never };
  };
};

/** Looking for faults takes time and memory for every item, and of a list that is too long the first ones tell enough. */
function telling(schema: TSchema, value: unknown): unknown {
  const { maxItems } = schema as { readonly maxItems?: number };
  return maxItems !== undefined && Array.isArray(value) ? value.slice(0, maxItems + 1) : value;
}

function numericKeys(schema: TSchema): string[] {
  const { properties = {} } = schema as { readonly properties?: Readonly<Record<string, { readonly type?: unknown }>> };
  return Object.keys(properties).filter((key) => /^(?:number|integer)$/.test(String(properties[key]?.type)));
}

// One spelling of a number; exponents, blanks and words are left as text, which then fails the check.
const decimal = /^-?\d+(?:\.\d+)?$/;

function withNumbers(value: unknown, keys: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const read: Record<string, unknown> = { ...value };
  for (const key of keys) {
    const text = read[key];
    if (typeof text === 'string' && decimal.test(text)) read[key] = Number(text);
  }
  return read;
}
