/**
 * Intents and their outcomes, as the records pass by: every intent has one outcome or is known as open, and what came
 * late stands behind the outcome. Only open intents are remembered, so memory does not grow with the log.
 */
import type { JsonObject } from '../../core/json.ts';
import type { Findings } from './findings.ts';

export class IntentsCheck {
  readonly #findings: Findings;
  /** Intents whose outcome has not been met yet. */
  readonly #open = new Set<string>();
  #firstId: string | undefined;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** Takes the next record. */
  add(seq: number, eventId: string, meta: JsonObject): void {
    this.#firstId ??= eventId;
    const { phase, intent_id: intentId } = meta;
    if (phase === 'intent') this.#open.add(eventId);
    if (typeof intentId !== 'string') return;
    if (phase === 'late') this.#expectClosed(seq, intentId);
    else if (!this.#open.delete(intentId)) this.#expectPruned(seq, intentId);
  }

  #expectClosed(seq: number, intentId: string): void {
    this.#findings.expect(
      !this.#open.has(intentId),
      'intents',
      () => `Record ${seq} says that it is late, but the intent ${intentId} had no outcome before it.`,
    );
  }

  /** An intent that is not open may be pruned; one that should be here has had its outcome, or was never here. */
  #expectPruned(seq: number, intentId: string): void {
    this.#findings.expect(
      intentId < (this.#firstId ?? ''),
      'intents',
      () => `Record ${seq} is an outcome of ${intentId}, which has one already or is no intent.`,
    );
  }

  /** Every intent without an outcome must be `known` as open, and every one of these be such an intent. */
  end(known: readonly string[]): void {
    for (const eventId of known) {
      if (this.#open.delete(eventId)) continue;
      this.#findings.fault('intents', `${eventId} is said to be open, but is no intent without an outcome.`);
    }
    for (const eventId of this.#open) {
      this.#findings.fault('intents', `The intent ${eventId} has no outcome, and nobody will close it.`);
    }
  }
}
