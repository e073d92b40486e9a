/**
 * The tool registry that an operator keeps: which tools only read, which are called under a key only, and which of their
 * arguments hold paths. It is read once, at the start; a file that cannot be understood stops it, because guessing could
 * let a write pass for a read.
 */
import { readFile } from 'node:fs/promises';
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { parseJsonStrict } from '../core/strict-json.ts';
import { type KnownTool, type KnownToolOf, unlistedTool } from '../core/tool-class.ts';

/** Tools by the file; without one nothing is known of any. Throws an `Error` with one sentence. */
export async function readToolRegistry(file: string | undefined): Promise<KnownToolOf> {
  if (file === undefined) return () => unlistedTool;
  const tools = await readTools(file);
  return (serverId, toolName) => tools.get(keyOf(serverId, toolName)) ?? unlistedTool;
}

async function readTools(file: string): Promise<ReadonlyMap<string, KnownTool>> {
  try {
    return toolsOf(parseJsonStrict(await readFile(file, 'utf8')));
  } catch (error) {
    throw new Error(`The tool registry ${file} cannot be used: ${describeError(error)}`);
  }
}

function toolsOf(registry: JsonValue): Map<string, KnownTool> {
  const entries = isJsonObject(registry) ? registry['tools'] : undefined;
  if (!Array.isArray(entries)) throw new Error('it has no list of tools.');
  const tools = new Map<string, KnownTool>();
  for (const [index, entry] of entries.entries()) addTool(tools, entry as JsonValue, index);
  return tools;
}

function addTool(tools: Map<string, KnownTool>, value: JsonValue, index: number): void {
  const entry = isJsonObject(value) ? value : {};
  const { tool_server: server, tool_name: name } = entry;
  if (typeof server !== 'string' || typeof name !== 'string') {
    throw new Error(`tools[${index}] needs tool_server and tool_name.`);
  }
  const key = keyOf(server, name);
  if (tools.has(key)) throw new Error(`${server}/${name} is listed twice.`);
  tools.set(key, knownTool(entry, `${server}/${name}`));
}

function knownTool(entry: JsonObject, tool: string): KnownTool {
  const { tool_class: toolClass, path_arguments: names = [], requires_idempotency_key: requiresKey = false } = entry;
  if (toolClass !== 'read' && toolClass !== 'write') {
    throw new Error(`the tool_class of ${tool} must be read or write.`);
  }
  if (!isNameList(names)) {
    throw new Error(
      `the path_arguments of ${tool} must be a list of at most ${bounds.pathArgumentsMax} names of arguments.`,
    );
  }
  if (typeof requiresKey !== 'boolean') {
    throw new Error(`the requires_idempotency_key of ${tool} must be true or false.`);
  }
  return { class: toolClass, pathArguments: names, requiresKey };
}

function isNameList(value: JsonValue): value is readonly string[] {
  if (!Array.isArray(value) || value.length > bounds.pathArgumentsMax) return false;
  return value.every((name) => typeof name === 'string' && name !== '');
}

// No server id holds a line break.
function keyOf(serverId: string, toolName: string): string {
  return `${serverId}\n${toolName}`;
}
