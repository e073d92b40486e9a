/** A writer of the log in a process of its own, for tests that stop it or end it at a moment of their choice. */
import { CommitPool } from '../../src/audit/pool.ts';
import { bounds } from '../../src/config/bounds.ts';
import { systemClock } from '../../src/core/clock.ts';
import { describeError } from '../../src/core/errors.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { numbered, prepared } from './drafts.ts';

const [url = ''] = process.argv.slice(2);
const writer = createLogWriter({ url });
const pool = new CommitPool({
  writer,
  clock: systemClock,
  bounds,
  onCommit: () => undefined,
  onFailure: () => undefined,
});

interface Order {
  readonly id: number;
  readonly count: number;
  readonly from: number;
  /** Makes the records of one batch larger than what a socket buffers. */
  readonly text?: string;
}

process.on('message', ({ id, count, from, text }: Order) => {
  const events =
    text === undefined
      ? numbered(count, from)
      : Array.from({ length: count }, (_, n) => prepared({ meta: { n: from + n }, details: { text } }));
  pool.add(events).then(
    (committed) => process.send?.({ id, committed }),
    (error: unknown) => process.send?.({ id, error: describeError(error) }),
  );
});
process.once('disconnect', () => void writer.close());
process.send?.({ writerId: writer.writerId });
