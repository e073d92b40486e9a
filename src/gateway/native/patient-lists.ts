/**
 * Lists of many servers at once, which none of them holds up: who has not answered in time is asked on the side from then
 * on, and waited for again once there was an answer.
 */
import { bounds } from '../../config/bounds.ts';
import { TalosError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';

export class PatientLists {
  /** Servers that did not answer in time, and whether they are being asked. */
  readonly #late = new Map<string, { isAsked: boolean }>();

  /** One server's part; nothing of one that is late, or fails. */
  async listOf(serverId: string, ask: () => Promise<JsonObject[]>): Promise<JsonObject[]> {
    const late = this.#late.get(serverId);
    if (late?.isAsked === true) return [];
    const asked = this.#ask(serverId, ask);
    if (late !== undefined) {
      late.isAsked = true;
      return [];
    }
    return (await inTime(asked)) ?? this.#tooLate(serverId);
  }

  async #ask(serverId: string, ask: () => Promise<JsonObject[]>): Promise<JsonObject[]> {
    try {
      const list = await ask();
      this.#late.delete(serverId);
      return list;
    } catch (error) {
      const late = this.#late.get(serverId);
      if (late !== undefined) late.isAsked = false;
      // On the side there is nobody to tell of a fault of ours; whoever waits is told.
      if (!(error instanceof TalosError) && late === undefined) throw error;
      return [];
    }
  }

  #tooLate(serverId: string): JsonObject[] {
    this.#late.set(serverId, { isAsked: true });
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
