/**
 * Lists of many servers at once, which none of them holds up: who has not answered in time is asked on the side from then
 * on, and waited for again once there was an answer.
 */
import { bounds } from '../../config/bounds.ts';
import { TalosError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';

export class PatientLists {
  /** Servers that did not answer in time, and whether they are being asked. */
  readonly #late = new WeakMap<object, { isAsked: boolean }>();

  /** One server's part, the same object each time; nothing of one that is late, or fails. A user's copy is its own server. */
  async listOf(server: object, ask: () => Promise<JsonObject[]>): Promise<JsonObject[]> {
    const late = this.#late.get(server);
    if (late?.isAsked === true) return [];
    const asked = this.#ask(server, ask);
    if (late !== undefined) {
      late.isAsked = true;
      return [];
    }
    return (await inTime(asked)) ?? this.#tooLate(server);
  }

  async #ask(server: object, ask: () => Promise<JsonObject[]>): Promise<JsonObject[]> {
    try {
      const list = await ask();
      this.#late.delete(server);
      return list;
    } catch (error) {
      const late = this.#late.get(server);
      if (late !== undefined) late.isAsked = false;
      // On the side there is nobody to tell of a fault of ours; whoever waits is told.
      if (!(error instanceof TalosError) && late === undefined) throw error;
      return [];
    }
  }

  #tooLate(server: object): JsonObject[] {
    this.#late.set(server, { isAsked: true });
    return [];
  }
}

/** Undefined when it takes too long. */
async function inTime<T>(asked: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), bounds.aggregateListWaitMs);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}
