/** The error object of a tool call, as clients of every generation read it; HTTP stays 200 beside it. */
import { TalosError } from '../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';

export interface ToolError {
  readonly code: number;
  readonly message: string;
  readonly category: 'SCHEMA_MISMATCH' | 'MCP_PROTOCOL' | 'INTERNAL';
  readonly retryable: boolean;
  readonly details?: JsonObject;
}

/** The arguments do not satisfy the tool's input schema; nothing was sent. */
export function schemaMismatch(faults: readonly string[]): ToolError {
  return {
    code: 400,
    message: `Input does not match schema: ${faults.join('; ')}`,
    category: 'SCHEMA_MISMATCH',
    retryable: false,
    details: { validation_errors: faults },
  };
}

/** A header that repeats an argument says something else: whoever stood in between may have judged by it. Nothing was sent. */
export function headerMismatch(header: string): TalosError {
  return new TalosError('HEADER_MISMATCH', { message: `The header ${header} does not say what the body says.` });
}

/** The server answered with a JSON-RPC error. */
export function jsonRpcError(error: { code: number; message: string; data?: JsonValue }): ToolError {
  const base = { code: error.code, message: error.message, category: 'MCP_PROTOCOL', retryable: false } as const;
  return error.data === undefined ? base : { ...base, details: { data: error.data } };
}

/** The tool ran and reported an error (`isError`); what it said is the message, its whole result the detail. */
export function toolError(result: JsonObject): ToolError {
  return {
    code: 500,
    message: textOf(result) || 'The tool reported an error.',
    category: 'INTERNAL',
    retryable: false,
    details: { result },
  };
}

function textOf(result: JsonObject): string {
  const content = result['content'];
  if (!Array.isArray(content)) return '';
  return content
    .map((part: JsonValue) => (isJsonObject(part) && typeof part['text'] === 'string' ? part['text'] : ''))
    .filter((text) => text !== '')
    .join('\n');
}
