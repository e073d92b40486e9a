/** A collection that a running gateway administers, as commands show it: a line an item, and a sentence for what cannot be. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/core/json.ts';
import { type AtGateway, administration, pathOf } from './administration.ts';
import { printable } from './printable.ts';
import { UsageError } from './usage-error.ts';

export interface CollectionOptions {
  /** Where the administration has it. */
  readonly path: string;
  /** What one item of it is called. */
  readonly noun: string;
  /** The words of an item's line. */
  readonly wordsOf: (item: JsonObject) => readonly unknown[];
}

/** What options name; undefined where they do not. */
export type Fields = Readonly<Record<string, JsonValue | undefined>>;

export class Collection {
  readonly #options: CollectionOptions;

  constructor(options: CollectionOptions) {
    this.#options = options;
  }

  pathOf(...names: readonly string[]): string {
    return pathOf(this.#options.path, ...names);
  }

  /** The line of an item as the gateway answered it. */
  lineOf(item: unknown): string {
    const { noun, wordsOf } = this.#options;
    if (!isJsonObject(item)) throw new UsageError(`The gateway answered something that is no ${noun}.`);
    return printable(wordsOf(item).map(String).join('  '));
  }

  print(item: unknown): void {
    console.log(this.lineOf(item));
  }

  /** Prints a list of them, and returns how many there are. */
  printAll(items: unknown): number {
    const found = Array.isArray(items) ? items : [];
    for (const item of found) this.print(item);
    return found.length;
  }

  async add(fields: Fields, at: AtGateway): Promise<void> {
    this.print(await administration(at).post(this.#options.path, given(fields)));
  }

  async change(name: string, fields: Fields, at: AtGateway): Promise<void> {
    const patch = given(fields);
    if (Object.keys(patch).length === 0) throw new UsageError('Say what to change.');
    this.print(await administration(at).patch(this.pathOf(name), patch));
  }

  async remove(name: string, at: AtGateway): Promise<void> {
    await administration(at).delete(this.pathOf(name));
    console.error(`The ${this.#options.noun} ${name} is removed.`);
  }
}

function given(fields: Fields): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter((entry) => entry[1] !== undefined)) as JsonObject;
}
