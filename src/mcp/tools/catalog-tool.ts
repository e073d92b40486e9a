/** A tool of a server as the gateway knows it: what the server says of it, and what follows from that. */
import type { JsonObject } from '../../core/json.ts';
import type { Mirror } from '../protocol/mirror.ts';
import type { ToolDefinition } from './tool-definition.ts';

/** `unchecked`: the schema cannot be used, or checking would take too long. */
export type ResultFault = 'mismatch' | 'missing' | 'unchecked';

export interface CatalogTool {
  /** The server's object, untouched. */
  readonly definition: ToolDefinition;
  readonly schemaHash: string;
  readonly definitionHash: string;
  /** Sentences that say what is wrong with `input`; empty when nothing is. They name properties, never values. */
  readonly validate: (input: unknown) => string[];
  /** What is wrong with the structured part of a result; absent where the definition promises nothing. */
  readonly resultFault?: (result: JsonObject) => ResultFault | undefined;
  /** Which arguments are repeated in headers of HTTP. */
  readonly mirrors: readonly Mirror[];
  /** When the server was last asked for a list that had it so, by the clock that only moves forward. */
  readonly listedAtMs: number;
}
