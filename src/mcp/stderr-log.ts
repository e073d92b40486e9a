/**
 * Carries what a child process writes to stderr into the gateway's log: line by line, cut, and not without end. What it
 * says while it starts explains why it does not; what it says later may quote arguments and is for debugging only.
 */
import type { Readable } from 'node:stream';
import type { ConnectionOptions } from './connection.ts';

const windowMs = 60_000;

export type StderrLogOptions = Pick<ConnectionOptions, 'spec' | 'clock' | 'log' | 'bounds'> & {
  readonly isStarting: () => boolean;
};

export function logStderr(stream: Readable, options: StderrLogOptions): void {
  const log = new StderrLog(options);
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => log.push(text));
  stream.on('end', () => log.push('\n'));
  stream.on('error', () => undefined);
}

class StderrLog {
  readonly #options: StderrLogOptions;
  #rest = '';
  #lines = 0;
  #windowEndsAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: StderrLogOptions) {
    this.#options = options;
  }

  push(text: string): void {
    const charsMax = this.#options.bounds.stdioStderrLineCharsMax;
    const parts = (this.#rest + text).split('\n');
    this.#rest = (parts.pop() ?? '').slice(0, charsMax);
    for (const part of parts) this.#line(part.trimEnd().slice(0, charsMax));
  }

  #line(line: string): void {
    if (line === '') return;
    const { spec, log, bounds, isStarting } = this.#options;
    const lines = this.#count();
    if (lines > bounds.stdioStderrLinesPerMinuteMax) return;
    if (lines === bounds.stdioStderrLinesPerMinuteMax) {
      log.warn({ server: spec.id }, 'a tool server writes too much; the rest of this minute is dropped');
    } else {
      log[isStarting() ? 'info' : 'debug']({ server: spec.id, stderr: line }, 'a tool server wrote');
    }
  }

  /** The number of this line within its minute. */
  #count(): number {
    const { clock } = this.#options;
    if (clock.monotonic() >= this.#windowEndsAtMs) {
      this.#windowEndsAtMs = clock.monotonic() + windowMs;
      this.#lines = 0;
    }
    return ++this.#lines;
  }
}
