/** A bounded map that forgets what was used longest ago. A `Map` keeps insertion order, so re-inserting marks a use. */
export class LruMap<V> {
  readonly #entries = new Map<string, V>();
  readonly #entriesMax: number;
  #evictions = 0;

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** How many entries were forgotten because the map was full. */
  get evictions(): number {
    return this.#evictions;
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    if (this.#entries.size >= this.#entriesMax) this.#forgetOldest();
    this.#entries.set(key, value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  #forgetOldest(): void {
    const oldest = this.#entries.keys().next();
    if (oldest.done) return;
    this.#entries.delete(oldest.value);
    this.#evictions++;
  }
}
