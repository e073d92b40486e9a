/** Pieces of work of which one is done at a time, in the order in which they were asked for. One that fails holds up no other. */
export class OneAtATime {
  #last: Promise<void> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.then(nothing, nothing);
    return turn;
  }

  /** Resolves when all that was asked for until now is over, whatever became of it. */
  settled(): Promise<void> {
    return this.#last;
  }
}

function nothing(): void {}
