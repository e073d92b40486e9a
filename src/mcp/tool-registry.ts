/**
 * The tool registry that an operator keeps: which tools only read. It is read once, at the start; a file that cannot be
 * understood stops it, because guessing a class could let a write pass for a read.
 */
import { readFile } from 'node:fs/promises';
import { describeError } from '../core/errors.ts';
import { isJsonObject, type JsonValue } from '../core/json.ts';
import { parseJsonStrict } from '../core/strict-json.ts';
import type { ToolClass, ToolClassOf } from '../core/tool-class.ts';

/** Classes by the file, or `unclassified` for everything when there is none. Throws an `Error` with one sentence. */
export async function readToolRegistry(file: string | undefined): Promise<ToolClassOf> {
  if (file === undefined) return () => 'unclassified';
  const classes = await readClasses(file);
  return (serverId, toolName) => classes.get(keyOf(serverId, toolName)) ?? 'unclassified';
}

async function readClasses(file: string): Promise<ReadonlyMap<string, ToolClass>> {
  try {
    return classesOf(parseJsonStrict(await readFile(file, 'utf8')));
  } catch (error) {
    throw new Error(`The tool registry ${file} cannot be used: ${describeError(error)}`);
  }
}

function classesOf(registry: JsonValue): Map<string, ToolClass> {
  const tools = isJsonObject(registry) ? registry['tools'] : undefined;
  if (!Array.isArray(tools)) throw new Error('it has no list of tools.');
  const classes = new Map<string, ToolClass>();
  for (const [index, tool] of tools.entries()) addTool(classes, tool as JsonValue, index);
  return classes;
}

function addTool(classes: Map<string, ToolClass>, tool: JsonValue, index: number): void {
  const { tool_server: server, tool_name: name, tool_class: toolClass } = isJsonObject(tool) ? tool : {};
  if (typeof server !== 'string' || typeof name !== 'string') {
    throw new Error(`tools[${index}] needs tool_server and tool_name.`);
  }
  if (toolClass !== 'read' && toolClass !== 'write') {
    throw new Error(`the tool_class of ${server}/${name} must be read or write.`);
  }
  const key = keyOf(server, name);
  if (classes.has(key)) throw new Error(`${server}/${name} is listed twice.`);
  classes.set(key, toolClass);
}

// No server id holds a line break.
function keyOf(serverId: string, toolName: string): string {
  return `${serverId}\n${toolName}`;
}
