/**
 * Closes what a crash left open: an intent says that a call was about to be made, and no outcome followed. Nobody knows
 * whether the tool ran, and the log says exactly that. While a gateway lives it commits often enough to be known alive;
 * one that was silent for `silentMs` is taken for dead.
 */
import type { Companions, EventDraft } from '../core/audit-event.ts';
import { describeError } from '../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonScalar } from '../core/json.ts';
import { ownDraft } from '../core/own-draft.ts';
import { gatewayItself, teamDefault } from '../core/principal.ts';
import { SingleFlight } from '../core/single-flight.ts';
import type { StoredEvent } from '../storage/events.ts';
import type { IntentStore } from '../storage/intents.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { Recorder } from './recorder.ts';

export interface ReconcilerOptions {
  readonly intents: IntentStore;
  readonly writerId: string;
  readonly recorder: Pick<Recorder, 'recordAll' | 'ensureWritable'>;
  readonly intervalMs: number;
  readonly silentMs: number;
  readonly log: Log;
}

export interface Reconciler {
  /** Closes the intents of writers silent for `silentMs` (0: of every other writer). Resolves with how many. */
  readonly reconcile: (silentMs: number) => Promise<number>;
  /** The outcome of an intent of this process could not be recorded: it is closed like those of a dead one. */
  readonly abandon: (intentId: string) => void;
  readonly close: () => Promise<void>;
}

/** Runs every `intervalMs` until it is closed. */
export function startReconciler(options: ReconcilerOptions): Reconciler {
  // Intents of this process that nobody works on any more. What was claimed is one of them until it is known to be
  // closed: when that is in doubt, the next round is given those that are still open.
  const abandoned = new Set<string>();
  const reconciling = new SingleFlight<number>();

  async function reconcile(silentMs: number): Promise<number> {
    const claimed = await options.intents.claimOrphans(options.writerId, silentMs, abandoned);
    if (claimed.length === 0) return 0;
    for (const { eventId } of claimed) abandoned.add(eventId);
    await options.recorder.recordAll(claimed.map(unknownOutcome));
    for (const { eventId } of claimed) abandoned.delete(eventId);
    options.log.warn({ intents: claimed.length }, 'closed calls whose outcome is unknown, because their gateway ended');
    return claimed.length;
  }

  const once = (silentMs: number) => reconciling.run(() => reconcile(silentMs));

  const timer = setInterval(() => {
    // The commit that tells the others that this gateway lives; it waits for no round before it.
    options.recorder
      .ensureWritable()
      .then(() => once(options.silentMs))
      .catch((error) => options.log.warn(`open intents could not be reconciled: ${describeError(error)}`));
  }, options.intervalMs);
  timer.unref();

  return {
    reconcile: once,
    abandon: (intentId) => void abandoned.add(intentId),
    async close() {
      clearInterval(timer);
      await reconciling.settled();
    },
  };
}

const surfaceId = 'mcp.tools.reconcile';
const inherited = [
  'server_id',
  'tool_name',
  'request_hash',
  'schema_hash',
  'definition_hash',
  'capability_hash',
  'session_id',
  'correlation_id',
  'idempotency_key_hash',
];

/** The outcome of an intent of which nothing more is known. */
function unknownOutcome(intent: StoredEvent): EventDraft {
  const record = JSON.parse(intent.canon) as JsonObject;
  const meta = isJsonObject(record['meta']) ? record['meta'] : {};
  const resource = isJsonObject(record['resource']) ? record['resource'] : {};
  return {
    ...ownDraft(surfaceId, String(record['request_id'])),
    outcome: 'failure',
    principal: { ...gatewayItself, teamId: teamOf(record) },
    resource: { type: String(resource['resource_type']), id: String(resource['resource_id']) },
    meta: {
      ...Object.fromEntries(inherited.map((key) => [key, meta[key] as JsonScalar | undefined])),
      event_type: 'mcp_tool_call',
      phase: 'outcome',
      intent_id: intent.eventId,
      reason: 'gateway_restart',
      error: 'OUTCOME_UNKNOWN',
      code: 500,
    },
    companions: { closesIntent: intent.eventId, ...keySettlement(intent.eventId, meta) },
  };
}

/** The key of such a call answers that nobody knows, so that who repeats it does not wait for ever. */
function keySettlement(intentId: string, meta: JsonObject): Pick<Companions, 'settlesKey'> {
  return meta['idempotency_key_hash'] === undefined ? {} : { settlesKey: { kind: 'unknown', intentId } };
}

// Those who may see the intent may see what became of it.
function teamOf(record: JsonObject): string {
  const principal = isJsonObject(record['principal']) ? record['principal'] : {};
  return typeof principal['team_id'] === 'string' ? principal['team_id'] : teamDefault;
}
