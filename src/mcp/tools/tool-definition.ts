/** A tool as its server defines it, and the hashes that name the definition. */
import { canonicalize } from '../../core/canonical-json.ts';
import { sha256Hex } from '../../core/hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';

export type ToolDefinition = JsonObject & { readonly name: string; readonly inputSchema: JsonObject };

/** `sha256:` and the hex sha256 of the canonical JSON of an input schema. */
export function schemaHash(inputSchema: JsonValue): string {
  return `sha256:${sha256Hex(canonicalize(inputSchema))}`;
}

/** The same over what a caller relies on; members that the definition lacks are absent. */
export function definitionHash(definition: JsonObject): string {
  return `sha256:${sha256Hex(definitionText(definition))}`;
}

/** The canonical JSON that the hash is over. */
export function definitionText(definition: JsonObject): string {
  const relied = ['name', 'description', 'inputSchema', 'outputSchema'].filter((key) => definition[key] !== undefined);
  return canonicalize(Object.fromEntries(relied.map((key) => [key, definition[key] as JsonValue])));
}

/** Names that stand for MCP methods in scopes. */
const reservedPrefix = 'rpc.';

/** Why a listed tool cannot be offered, or undefined when it can. */
export function definitionProblem(tool: JsonValue, nameCharsMax: number): string | undefined {
  if (!isJsonObject(tool)) return 'it is no object';
  const { name, inputSchema } = { name: tool['name'], inputSchema: tool['inputSchema'] };
  if (typeof name !== 'string' || name === '') return 'it has no name';
  if (name.length > nameCharsMax) return `its name is longer than ${nameCharsMax} characters`;
  if (name.startsWith(reservedPrefix)) return `names that start with '${reservedPrefix}' are reserved`;
  return isJsonObject(inputSchema) ? undefined : 'it has no input schema';
}
