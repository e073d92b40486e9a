/** The arguments of a call that a human has to judge: sealed beside the log, and only as long as they may be needed. */
import { canonicalize } from '../core/canonical-json.ts';
import type { Envelope } from '../core/envelope.ts';
import type { JsonObject } from '../core/json.ts';
import type { KeyRing } from '../core/key-ring.ts';
import { openFor, sealFor } from '../core/purpose-envelope.ts';

export function sealArguments(approvalId: string, input: JsonObject, keys: KeyRing): Envelope {
  return sealFor(purposeOf(approvalId), Buffer.from(canonicalize(input)), keys);
}

/** Undefined when they cannot be opened. */
export function openArguments(approvalId: string, envelope: Envelope, keys: KeyRing): JsonObject | undefined {
  const plain = openFor(purposeOf(approvalId), envelope, keys);
  return plain && (JSON.parse(plain.toString('utf8')) as JsonObject);
}

const purposeOf = (approvalId: string) => `talos.tool_approval.v1:${approvalId}`;
