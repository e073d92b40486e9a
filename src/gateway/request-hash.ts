/** What is asked with what, as one hash: hex sha256 of JCS of `{method, params}`, without `_meta`. */
import { canonicalize } from '../core/canonical-json.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import type { CallInput } from './call-input.ts';

export function rpcHash(method: string, params: JsonObject): string {
  return sha256Hex(canonicalize({ method, params }));
}

/** Of a tool call. */
export function requestHash(name: string, input: JsonObject, given?: CallInput): string {
  const params: Record<string, JsonValue> = { name, arguments: input, ...given };
  return rpcHash('tools/call', params);
}
