/** Work that many may ask for at once and that runs once: whoever asks while it runs shares its outcome. */
export class SingleFlight<T> {
  #running: Promise<T> | undefined;

  run(start: () => Promise<T>): Promise<T> {
    this.#running ??= start().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves when what runs now is over, whatever became of it. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => undefined);
  }
}
