/** Items between the connection that brings them and the one consumer that takes them, in order. */

export interface BufferOptions {
  /** How many items make it full. It takes more: what is on its way when the sender is asked to pause. */
  readonly max: number;
  readonly onFull: () => void;
  /** Told once it is nearly empty after it was full. */
  readonly onRoom: () => void;
}

interface Waiting<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

interface End {
  readonly error?: unknown;
}

const roomShare = 4;

export class ItemBuffer<T> {
  readonly #options: BufferOptions;
  #items: T[] = [];
  // What is before it was taken; cut off in steps, for arrays are slow to shift.
  #taken = 0;
  #isFull = false;
  #end: End | undefined;
  #waiting: Waiting<T> | undefined;

  constructor(options: BufferOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#items.length - this.#taken;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  push(item: T): void {
    if (this.#end !== undefined) return;
    const waiting = this.#waitingOnce();
    if (waiting !== undefined) {
      waiting.resolve({ value: item, done: false });
      return;
    }
    this.#items.push(item);
    if (this.#isFull || this.size < this.#options.max) return;
    this.#isFull = true;
    this.#options.onFull();
  }

  /** Nothing comes any more; what is here can still be taken, and then the error is thrown. */
  end(error?: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = error === undefined ? {} : { error };
    const waiting = this.#waitingOnce();
    if (waiting !== undefined) finish(waiting, this.#end);
  }

  /** Drops what nobody will take. */
  clear(): void {
    this.#items = [];
    this.#taken = 0;
  }

  take(): Promise<IteratorResult<T, undefined>> {
    if (this.size > 0) return Promise.resolve({ value: this.#shift(), done: false });
    return new Promise((resolve, reject) => {
      if (this.#end === undefined) this.#waiting = { resolve, reject };
      else finish({ resolve, reject }, this.#end);
    });
  }

  #shift(): T {
    const item = this.#items[this.#taken++] as T;
    if (this.#taken * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#taken);
      this.#taken = 0;
    }
    if (this.#isFull && this.size <= this.#options.max / roomShare) {
      this.#isFull = false;
      this.#options.onRoom();
    }
    return item;
  }

  #waitingOnce(): Waiting<T> | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }
}

function finish<T>({ resolve, reject }: Waiting<T>, end: End): void {
  if ('error' in end) reject(end.error);
  else resolve({ value: undefined, done: true });
}
