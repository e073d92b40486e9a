/**
 * What changed in the definition of a tool, for a human to read: each part as it is, line by line. What cannot be seen, or
 * would turn the text around, is spelled out, because that is where instructions for models hide.
 */
import { bounds } from '../config/bounds.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import { unifiedDiff } from '../core/text-diff.ts';

const contextLines = 3;

/** A unified diff of two definitions as canonical JSON; empty when they are alike. */
export function definitionDiff(approved: string, held: string): string {
  return unifiedDiff(readable(approved), readable(held), {
    from: 'approved',
    to: 'held',
    context: contextLines,
    cellsMax: bounds.pinDiffCellsMax,
  });
}

/** Name and description as text, the schemas as indented JSON. */
export function readable(canonical: string): string {
  const definition = JSON.parse(canonical) as JsonObject;
  return ['name', 'description', 'inputSchema', 'outputSchema']
    .filter((key) => definition[key] !== undefined)
    .map((key) => `${key}:\n${visible(textOf(definition[key] as JsonValue))}`)
    .join('\n');
}

function textOf(value: JsonValue): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value, undefined, 2);
  return text.replace(/^/gm, '  ');
}

// With the fillers, tags and variation selectors, which carry text that nobody sees.
const unseen = /[^\P{Cc}\n]|\p{Cf}|\p{Default_Ignorable_Code_Point}|[\u2028\u2029\u00a0]/gu;

function visible(text: string): string {
  return text.replace(unseen, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
