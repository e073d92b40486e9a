/**
 * Many servers asked the same at once, of which none holds up the others: who has not answered in time is asked on the
 * side from then on, and waited for again once there was an answer.
 */
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';

export class Patience {
  /** By what is asked, servers that did not answer in time, and whether they are being asked. */
  readonly #late = new Map<string, WeakMap<object, { isAsked: boolean }>>();

  /**
   * What one server, the same object each time, answers; undefined of one that is late, or fails. A user's copy is its
   * own server. `what` is one of few: who is late with one thing is asked another all the same. The signal is nobody's:
   * whoever leaves does not make the server seem slow to the others who wait for it.
   */
  async answerOf<T>(server: object, what: string, ask: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const slow = this.#slowAt(what);
    const late = slow.get(server);
    if (late?.isAsked === true) return undefined;
    const asked = settle(slow, server, ask);
    if (late !== undefined) {
      late.isAsked = true;
      return undefined;
    }
    const answer = await inTime(asked);
    if (answer === tooLate) slow.set(server, { isAsked: true });
    return answer === tooLate ? undefined : answer;
  }

  #slowAt(what: string): WeakMap<object, { isAsked: boolean }> {
    const known = this.#late.get(what) ?? new WeakMap();
    this.#late.set(what, known);
    return known;
  }
}

async function settle<T>(
  slow: WeakMap<object, { isAsked: boolean }>,
  server: object,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  try {
    const answer = await ask(new AbortController().signal);
    slow.delete(server);
    return answer;
  } catch (error) {
    const late = slow.get(server);
    if (late !== undefined) late.isAsked = false;
    // On the side there is nobody to tell of a fault of ours; whoever waits is told.
    if (!(error instanceof TalosError) && late === undefined) throw error;
    return undefined;
  }
}

const tooLate = Symbol('too late');

/** `tooLate` when it takes longer than any of many servers may. */
async function inTime<T>(asked: Promise<T>): Promise<T | typeof tooLate> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof tooLate>((resolve) => {
    timer = setTimeout(() => resolve(tooLate), bounds.aggregateListWaitMs);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a server answers within that time; undefined when it does not, or fails. */
export async function patiently<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    const answer = await inTime(asked);
    return answer === tooLate ? undefined : answer;
  } catch (error) {
    if (error instanceof TalosError) return undefined;
    throw error;
  }
}
