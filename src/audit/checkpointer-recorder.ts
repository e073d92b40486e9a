/** A log that cannot be proven any more takes no records: no record, no answer. */
import type { Recorder } from './recorder.ts';

/** The recorder, until `assertSound` throws: from then on everything that needs a record is refused by what it throws. */
export function recordWhileSound(recorder: Recorder, assertSound: () => void): Recorder {
  function guarded<Args extends unknown[], Result>(work: (...args: Args) => Promise<Result>) {
    return async (...args: Args): Promise<Result> => {
      assertSound();
      return await work(...args);
    };
  }
  return {
    ...recorder,
    record: guarded(recorder.record),
    recordAll: guarded(recorder.recordAll),
    ensureWritable: guarded(recorder.ensureWritable),
  };
}
