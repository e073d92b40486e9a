/** Splits what a program prints into lines of bounded length. */
import type { Readable } from 'node:stream';
import { bounds } from '../../config/bounds.ts';

export function followLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = cut(lines.pop() ?? '');
    for (const line of lines) if (line !== '') onLine(cut(line));
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
  // A broken pipe ends with the process; its exit tells the rest.
  stream.on('error', () => {});
}

function cut(line: string): string {
  return line.slice(0, bounds.embeddedLogLineCharsMax);
}
