/**
 * Anchors: checkpoints that are kept where the database's owner cannot quietly change them. A file, best on another
 * volume, is only ever appended to; an address is sent the note. The newest checkpoint in the files takes part in the
 * fork guard.
 */
import { open } from 'node:fs/promises';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { isJsonObject } from '../core/json.ts';
import { parseJsonStrict } from '../core/strict-json.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { type FoundCheckpoint, foundIn } from './checkpointer-file.ts';

export interface AnchorsOptions {
  readonly files: readonly string[];
  readonly urls: readonly string[];
  /** How long a checkpoint may wait for a newer one to be anchored in its place; 0 anchors each. */
  readonly intervalMs: number;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface Anchors {
  /** The newest checkpoint of each file that has one. Throws an `Error` with one sentence for a file that is damaged. */
  readonly newest: () => Promise<FoundCheckpoint[]>;
  /** Anchors this checkpoint or a newer one within the interval. */
  readonly offer: (note: string) => void;
  /** Anchors what still waits, but waits for no address longer than `deadlineMs`. */
  readonly close: (deadlineMs: number) => Promise<void>;
}

export function createAnchors(options: AnchorsOptions): Anchors {
  const { files, urls, clock } = options;
  const closing = new AbortController();
  const places = [
    ...files.map((file) => anchorAt(file, (note) => append(file, note, clock.now()), options)),
    ...urls.map((url) =>
      anchorAt(new URL(url).host, (note) => post(options.fetch, url, note, closing.signal), options),
    ),
  ];
  return {
    newest: async () => (await Promise.all(files.map(newestIn))).filter((found) => found !== undefined),
    offer(note) {
      for (const place of places) place.offer(note);
    },
    async close(deadlineMs) {
      const timer = setTimeout(() => closing.abort(new Error('the gateway is stopping')), deadlineMs);
      await Promise.all(places.map((place) => place.close()));
      clearTimeout(timer);
    },
  };
}

interface Place {
  readonly offer: (note: string) => void;
  readonly close: () => Promise<void>;
}

/** One anchor, which neither waits for the others nor makes them wait. What it did not take is tried again. */
function anchorAt(
  name: string,
  put: (note: string) => Promise<void>,
  { intervalMs, telemetry }: AnchorsOptions,
): Place {
  const copy = { kind: 'anchor', name } as const;
  let waiting: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  let isClosed = false;

  async function anchor(): Promise<void> {
    const note = waiting;
    waiting = undefined;
    if (note === undefined) return;
    try {
      await put(note);
      telemetry.outsideCopyMade(copy);
    } catch (error) {
      telemetry.outsideCopyFailed({ ...copy, reason: describeError(error) });
      waiting ??= note;
      schedule(Math.max(intervalMs, bounds.anchorRetryMs));
    }
  }

  function schedule(delayMs: number): void {
    if (!isClosed) timer ??= setTimeout(() => void flush(), delayMs);
  }

  function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    running = running.then(anchor);
    return running;
  }

  return {
    offer(note) {
      waiting = note;
      schedule(intervalMs);
    },
    close() {
      isClosed = true;
      return flush();
    },
  };
}

/** One line of JSON a checkpoint, on disk when it resolves. */
async function append(file: string, note: string, nowMs: number): Promise<void> {
  const handle = await open(file, 'a+', 0o600);
  try {
    const { size } = await handle.stat();
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, Math.max(size - 1, 0));
    // A line that a crash cut short must not swallow this one.
    const start = size === 0 || buffer.toString() === '\n' ? '' : '\n';
    const line = JSON.stringify({ time: new Date(nowMs).toISOString(), checkpoint: note });
    await handle.appendFile(`${start}${line}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function post(fetch: AnchorsOptions['fetch'], url: string, note: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'text/plain; charset=utf-8' },
    body: note,
    redirect: 'error',
    signal: AbortSignal.any([signal, AbortSignal.timeout(bounds.anchorTimeoutMs)]),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`it answered ${response.status}`);
}

/** The largest checkpoint near the end of the file, or undefined when there is no file or nothing in it. */
async function newestIn(file: string): Promise<FoundCheckpoint | undefined> {
  try {
    const lines = (await endOf(file)).split('\n').filter((line) => line !== '');
    // A crash may have cut a line short, so one that cannot be read is passed over.
    const found = lines.flatMap((line) => checkpointIn(file, line) ?? []).sort((a, b) => b.size - a.size);
    if (found.length === 0 && lines.length > 1) throw new Error('none of its lines is a checkpoint');
    return found[0];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`The anchor ${file} cannot be read: ${describeError(error)}`);
  }
}

async function endOf(file: string): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read({
      buffer: Buffer.alloc(Math.min(size, bounds.anchorTailBytesMax)),
      position: Math.max(size - bounds.anchorTailBytesMax, 0),
    });
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

function checkpointIn(file: string, line: string): FoundCheckpoint | undefined {
  try {
    const entry = parseJsonStrict(line);
    const note = isJsonObject(entry) ? entry['checkpoint'] : undefined;
    return typeof note === 'string' ? foundIn(`The anchor ${file}`, note) : undefined;
  } catch {
    return undefined;
  }
}
