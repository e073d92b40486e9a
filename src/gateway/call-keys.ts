/**
 * Idempotency keys of tool calls: under one key of one caller a tool is called at most once, whichever gateways are asked
 * and whatever crashes. Who repeats the call gets what it came to, which is kept for a day, encrypted, beside the log.
 */
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, KeySettlement, Reservation } from '../core/audit-event.ts';
import { canonicalize } from '../core/canonical-json.ts';
import { describeError, type ErrorCode, TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { KeyRing } from '../core/key-ring.ts';
import type { Principal } from '../core/principal.ts';
import { openFor, sealFor } from '../core/purpose-envelope.ts';
import type { CallResultStore } from '../storage/call-results.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { failed, mayHaveRun, type Outcome } from './call-outcome.ts';

/** What a key answers instead of a call. */
export interface Standing {
  readonly outcome: Outcome;
  /** The record of what is answered, when that is an earlier one. */
  readonly replayOf?: string;
}

export interface CallKeys {
  /** The error for which nothing can be kept now, so that no call is made whose result would be lost. */
  readonly unusable: () => Promise<TalosError | undefined>;
  /** What a key answers that stands for an intent; undefined when nothing came of that, so that it may be replaced. */
  readonly standing: (intent: Pick<CommittedEvent, 'eventId' | 'reservation'>) => Promise<Standing | undefined>;
  /** Puts down what the key will answer once the outcome is on record. Never fails: what is not kept is answered so. */
  readonly keep: (intentId: string, outcome: Outcome) => Promise<void>;
}

export interface CallKeysOptions {
  readonly results: CallResultStore;
  /** The keys that secrets are kept under. Throws `SECRETS_UNREADABLE`. */
  readonly readKeys: () => Promise<KeyRing>;
  readonly log: Log;
}

export interface KeyedCall {
  readonly principal: Principal;
  readonly serverId: string;
  readonly toolName: string;
  readonly key: string;
  /** hex sha256 of what is called with what. */
  readonly requestHash: string;
}

/** A key is its caller's, in one team, for one tool. */
export function callReservation({ principal, serverId, toolName, key, requestHash }: KeyedCall): Reservation {
  const owner = principal.authMode === 'bearer' ? [principal.id, principal.teamId] : [];
  const keyHash = sha256Hex(canonicalize(['mcp.tools.call', serverId, toolName, key, ...owner]));
  return { keyHash, bodyHash: requestHash, records: 1 };
}

/** What the key answers from the record of this outcome on. */
export function settlementOf(intentId: string, outcome: Outcome): KeySettlement {
  return { kind: isResult(outcome) ? 'answered' : 'freed', intentId };
}

/** What asks for input is none: the next round takes its place. */
function isResult(outcome: Outcome): boolean {
  return mayHaveRun(outcome) && outcome.kind !== 'asked';
}

export function createCallKeys({ results, readKeys, log }: CallKeysOptions): CallKeys {
  return {
    async unusable() {
      try {
        await readKeys();
        return undefined;
      } catch (error) {
        if (error instanceof TalosError) return error;
        throw error;
      }
    },
    async standing({ eventId: intentId, reservation }) {
      if (reservation === 'conflict') return { outcome: failed(new TalosError('IDEMPOTENCY_CONFLICT')) };
      const found = await results.find(intentId);
      if (found === undefined) return inFlight;
      const { kind, outcomeId: replayOf, envelope } = found;
      if (kind === 'freed') return undefined;
      if (kind === 'unknown') return { outcome: failed(replayed('OUTCOME_UNKNOWN')), replayOf };
      const outcome = envelope && unseal(openFor(purposeOf(intentId), envelope, await readKeys()));
      return { outcome: outcome ?? failed(replayed('RESULT_NOT_KEPT')), replayOf };
    },
    async keep(intentId, outcome) {
      const plain = isResult(outcome) ? Buffer.from(JSON.stringify(keptOf(outcome))) : undefined;
      if (plain === undefined || plain.byteLength > bounds.keptResultBytesMax) return;
      try {
        await results.put(intentId, sealFor(purposeOf(intentId), plain, await readKeys()));
      } catch (error) {
        log.warn({ intent: intentId, reason: describeError(error) }, 'the result of a call could not be kept');
      }
    },
  };
}

/** How soon to ask again for what is still at work. */
const askAgainSec = 1;

export const inFlight: Standing = {
  outcome: failed(new TalosError('IDEMPOTENCY_IN_FLIGHT', { retryAfterSec: askAgainSec })),
};

function replayed(code: ErrorCode, message?: string): TalosError {
  return new TalosError(code, { isReplay: true, retryable: false, ...(message === undefined ? {} : { message }) });
}

/** An outcome as it is kept: an error by what its caller was told. */
type Kept =
  | Exclude<Outcome, { kind: 'failed' | 'denied' | 'asked' }>
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string };

function keptOf(outcome: Outcome): Kept | undefined {
  if (outcome.kind === 'denied' || outcome.kind === 'asked') return undefined;
  if (outcome.kind !== 'failed') return outcome;
  const { code, message } = outcome.error;
  return { kind: 'failed', code, message };
}

function outcomeOf(kept: Kept): Outcome {
  return kept.kind === 'failed' ? failed(replayed(kept.code, kept.message), true) : kept;
}

const purposeOf = (intentId: string) => `talos.call_result.v1:${intentId}`;

function unseal(plain: Buffer | undefined): Outcome | undefined {
  return plain && outcomeOf(JSON.parse(plain.toString('utf8')) as Kept);
}
