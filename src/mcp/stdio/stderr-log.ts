/**
 * Carries what a child process writes to stderr into the gateway's log: line by line, cut, and not without end. What it
 * says while it starts explains why it does not; what it says later may quote arguments and is for debugging only. The
 * values of its environment, which it was given to keep, are masked.
 */
import type { Readable } from 'node:stream';
import { secretMask } from '../../config/secret.ts';
import type { ConnectionOptions } from '../connection.ts';

const windowMs = 60_000;
/** What is shorter is a port or a switch, and masking it would only spoil what is said. */
const maskedCharsMin = 8;

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
  readonly #masked: readonly string[];
  #rest = '';
  #lines = 0;
  #windowEndsAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: StderrLogOptions) {
    this.#options = options;
    this.#masked = Object.values(options.spec.env ?? {})
      .flatMap((value) => value.split('\n'))
      .filter((text) => text.length >= maskedCharsMin)
      .sort((a, b) => b.length - a.length);
  }

  push(text: string): void {
    const charsMax = this.#options.bounds.stdioStderrLineCharsMax;
    const parts = (this.#rest + text).split('\n');
    this.#rest = (parts.pop() ?? '').slice(0, charsMax);
    for (const part of parts) this.#line(this.#mask(part.trimEnd()).slice(0, charsMax));
  }

  #mask(line: string): string {
    return this.#masked.reduce((text, value) => text.replaceAll(value, secretMask), line);
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
