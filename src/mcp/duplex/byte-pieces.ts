/**
 * Bytes that arrive in pieces and are wanted as one, with a bound on how many. A sender who cuts them into very many
 * pieces costs no more than one who does not: now and then what has come is copied together, which also lets go of the
 * larger buffers that the pieces were cut from.
 */
const loosePiecesMax = 64;

export class BytePieces {
  readonly #bytesMax: number;
  /** Copied together already. */
  #blocks: Buffer[] = [];
  #loose: Buffer[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get isEmpty(): boolean {
    return this.#loose.length === 0 && this.#blocks.length === 0;
  }

  /** False when that is too much, and nothing was added. */
  add(piece: Buffer): boolean {
    if (this.#bytes + piece.length > this.#bytesMax) return false;
    this.#bytes += piece.length;
    if (this.#loose.length === loosePiecesMax) {
      this.#blocks.push(Buffer.concat(this.#loose));
      this.#loose = [];
    }
    this.#loose.push(piece);
    return true;
  }

  /** All of it, and begins anew. One that came in one piece is not copied. */
  take(): Buffer {
    const pieces = this.#blocks.length === 0 ? this.#loose : [...this.#blocks, ...this.#loose];
    this.#blocks = [];
    this.#loose = [];
    this.#bytes = 0;
    const [first] = pieces;
    return first !== undefined && pieces.length === 1 ? first : Buffer.concat(pieces);
  }
}
