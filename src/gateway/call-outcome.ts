/** What became of a tool call: as the corridor knows it, and as its record tells it. */
import type { EventDraft } from '../core/audit-event.ts';
import { type Denial, denialCode } from '../core/denial.ts';
import { errorTable, type TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject } from '../core/json.ts';
import type { UpstreamAnswer } from '../mcp/registry.ts';
import type { Caller } from './caller.ts';
import { denialMeta } from './refusal.ts';
import { jsonRpcError, type ToolError, toolError } from './tool-error.ts';

/** `responseHash` is the hex sha256 of the raw bytes of the tool server's final response. */
export type Outcome =
  | { readonly kind: 'answered'; readonly output: JsonObject; readonly responseHash: string }
  | Asked
  | { readonly kind: 'erred'; readonly error: ToolError; readonly responseHash?: string }
  | { readonly kind: 'failed'; readonly error: TalosError; readonly dispatched: boolean }
  | { readonly kind: 'denied'; readonly denial: Denial };

/**
 * The tool asks for input in place of an answer: nothing has come of the call yet. `askedFor`: the methods of what it
 * asks. `waits`: the call is still open at the server, which has given no response.
 */
export interface Asked {
  readonly kind: 'asked';
  readonly output: JsonObject;
  readonly askedFor: string;
  readonly responseHash?: string;
  readonly waits?: true;
}

export function failed(error: TalosError, dispatched = false): Outcome & { readonly kind: 'failed' } {
  return { kind: 'failed', error, dispatched };
}

export function fromUpstream(answer: UpstreamAnswer): Outcome {
  const responseHash = sha256Hex(answer.raw);
  if (answer.kind === 'error') return { kind: 'erred', error: jsonRpcError(answer.error), responseHash };
  if (answer.kind === 'result' && answer.isError)
    return { kind: 'erred', error: toolError(answer.result), responseHash };
  return { kind: 'answered', output: answer.result, responseHash };
}

export function asked({ result, raw }: Extract<UpstreamAnswer, { kind: 'input_required' }>, askedFor: string): Outcome {
  return { kind: 'asked', output: result, responseHash: sha256Hex(raw), askedFor };
}

/** Whether the call goes on at the server, so that its outcome is still to come. */
export function isOpen(outcome: Outcome): boolean {
  return outcome.kind === 'asked' && outcome.waits === true;
}

/** Whether the tool may have seen the call. */
export function mayHaveRun(outcome: Outcome): boolean {
  if (outcome.kind === 'failed') return outcome.dispatched;
  return (
    outcome.kind === 'answered' ||
    outcome.kind === 'asked' ||
    (outcome.kind === 'erred' && outcome.responseHash !== undefined)
  );
}

export const recordOutcomes = {
  answered: 'success',
  asked: 'success',
  erred: 'failure',
  failed: 'failure',
  denied: 'denied',
} as const;

export function statusOf(outcome: Outcome): number {
  if (outcome.kind === 'failed') return outcome.error.status;
  if (outcome.kind === 'denied') return errorTable[denialCode(outcome.denial.reason)].status;
  return 200;
}

export function outcomeMeta(outcome: Outcome, caller: Caller): EventDraft['meta'] {
  switch (outcome.kind) {
    case 'answered':
      return { response_hash: outcome.responseHash };
    case 'asked':
      return { response_hash: outcome.responseHash, asked_for: outcome.askedFor };
    case 'erred':
      return { error: outcome.error.category, code: outcome.error.code, response_hash: outcome.responseHash };
    case 'failed':
      return { error: outcome.error.code };
    case 'denied':
      return denialMeta(outcome.denial, caller);
  }
}
