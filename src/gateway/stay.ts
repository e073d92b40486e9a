/**
 * A call that stays open at its server while its client, who has no session, is asked what the server asks. It is sent
 * once, and its intent is on record once, in however many rounds its client brings what it was asked for.
 */
import type { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { McpServer } from '../mcp/registry.ts';
import type { CallInput } from './call-input.ts';
import type { Outcome } from './call-outcome.ts';

/** What makes a call the same one in every round. */
export interface StayingCall {
  readonly toolName: string;
  readonly input: JsonObject;
  /** Of the idempotency key that it is called under. */
  readonly reserves?: { readonly keyHash: string };
}

/** What came of a round. The outcome closes the intent; a call that is still open has none that could be closed. */
export interface Dispatched {
  readonly outcome: Outcome;
  readonly intentId?: string;
}

export interface Round extends StayingCall {
  readonly requestId: string;
  /** What the client brings of what it was asked for. */
  readonly given?: CallInput;
  /** The record that says that the tool is about to be called, when this round sends it. */
  readonly intentId?: string;
  /** Puts on record how the call ended, when no round waits for it any more. */
  readonly end: (dispatched: Dispatched) => Promise<unknown>;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface Stay {
  /** How all its records call it. */
  readonly name: string;
  /** The tool was called in an earlier round. */
  readonly hasBegun: boolean;
  /** Calls the tool, or passes on what was asked for, and waits for the answer or the next question. Never rejects. */
  readonly proceed: (round: Round) => Promise<Dispatched>;
}

/**
 * The stay that a round belongs to, or begins; undefined where calls do not stay, and the error where no call waits for
 * what the client brings.
 */
export type StayFor = (
  server: McpServer,
  call: StayingCall & Pick<Round, 'given' | 'signal'>,
) => Promise<Stay | TalosError | undefined>;
