/** Carries what a child process writes to stderr into the gateway's log: line by line, cut, and not without end. */
import type { Readable } from 'node:stream';
import type { ConnectionOptions } from './connection.ts';

const windowMs = 60_000;

export function logStderr(
  stream: Readable,
  { spec, clock, log, bounds }: Omit<ConnectionOptions, 'onToolsChanged'>,
): void {
  let rest = '';
  let windowEndsAtMs = 0;
  let lines = 0;

  const write = (line: string) => {
    if (clock.monotonic() >= windowEndsAtMs) {
      windowEndsAtMs = clock.monotonic() + windowMs;
      lines = 0;
    }
    lines++;
    if (lines === bounds.stdioStderrLinesPerMinuteMax)
      log.warn({ server: spec.id }, 'a tool server writes too much; dropping for a minute');
    if (lines < bounds.stdioStderrLinesPerMinuteMax && line !== '')
      log.info({ server: spec.id, stderr: line }, 'a tool server wrote');
  };

  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = (parts.pop() ?? '').slice(0, bounds.stdioStderrLineCharsMax);
    for (const part of parts) write(part.trimEnd().slice(0, bounds.stdioStderrLineCharsMax));
  });
  stream.on('end', () => write(rest));
  stream.on('error', () => undefined);
}
