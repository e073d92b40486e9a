/**
 * Cuts a byte stream into lines ended by LF; a CR before it belongs to the end. Holds at most one incomplete line, of
 * bounded size, and never copies a line that arrived in one piece.
 */
import { BytePieces } from './byte-pieces.ts';

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export class LineTooLong extends Error {
  override readonly name = 'LineTooLong';
}

export class LineFramer {
  readonly #onLine: (line: Buffer) => void;
  readonly #parts: BytePieces;

  constructor(lineBytesMax: number, onLine: (line: Buffer) => void) {
    this.#parts = new BytePieces(lineBytesMax);
    this.#onLine = onLine;
  }

  /** Throws `LineTooLong` as soon as a line passes the bound, complete or not. */
  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end !== -1; end = chunk.indexOf(lineFeed, start)) {
      this.#take(chunk.subarray(start, end));
      this.#emit();
      start = end + 1;
    }
    if (start < chunk.length) this.#take(chunk.subarray(start));
  }

  #take(part: Buffer): void {
    if (!this.#parts.add(part)) throw new LineTooLong();
  }

  #emit(): void {
    const line = this.#parts.take();
    this.#onLine(line.at(-1) === carriageReturn ? line.subarray(0, -1) : line);
  }
}
