/**
 * Arguments that a tool wants mirrored in headers, so that proxies can route by them (`x-mcp-header` in the input
 * schema, MCP 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters").
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { decodeHeaderValue, encodeHeaderValue } from './era.ts';
import type { Mirror } from './mirror.ts';

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const mirroredTypes: readonly unknown[] = ['string', 'integer', 'boolean'];

/** What `inputSchema` declares, wherever a chain of `properties` leads. Declarations that the rules forbid are not honoured. */
export function mirrorsOf(inputSchema: JsonObject, path: readonly string[] = []): Mirror[] {
  const { properties } = { properties: inputSchema['properties'] };
  if (!isJsonObject(properties)) return [];
  return Object.entries(properties).flatMap(([name, schema]) => {
    if (!isJsonObject(schema)) return [];
    const here = [...path, name];
    const header = schema['x-mcp-header'];
    const honoured = typeof header === 'string' && token.test(header) && mirroredTypes.includes(schema['type']);
    return [...(honoured ? [{ path: here, header }] : []), ...mirrorsOf(schema, here)];
  });
}

/** The headers for one call, names and values in turn. Absent and null arguments have none. */
export function mirrorHeaders(mirrors: readonly Mirror[], args: JsonObject): string[] {
  return mirrors.flatMap(({ path, header }) => {
    const text = primitiveText(valueAt(args, path));
    return text === undefined ? [] : [`mcp-param-${header}`, encodeHeaderValue(text)];
  });
}

/**
 * The name of the first header that does not tell what its argument tells, as a client has to send it; undefined when
 * all do. `headerOf` gives the value of a header by its name in lower case.
 */
export function contradictingMirror(
  mirrors: readonly Mirror[],
  args: JsonObject,
  headerOf: (name: string) => string | undefined,
): string | undefined {
  const wrong = mirrors.find(({ path, header }) => {
    const given = headerOf(`mcp-param-${header.toLowerCase()}`);
    const said = given === undefined ? undefined : decodeHeaderValue(given);
    return said !== primitiveText(valueAt(args, path)) || (given !== undefined && said === undefined);
  });
  return wrong === undefined ? undefined : `Mcp-Param-${wrong.header}`;
}

function valueAt(args: JsonObject, path: readonly string[]): JsonValue | undefined {
  let value: JsonValue | undefined = args;
  for (const key of path) value = isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

function primitiveText(value: JsonValue | undefined): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  return typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : undefined;
}
