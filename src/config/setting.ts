/** What is said of one setting. The table of them is `settings.ts`. */
import type { Parsed } from './parse.ts';

export interface Setting<T> {
  /** Names in the environment, strongest first. */
  readonly env: readonly string[];
  /** Keys of the file, strongest first. The first is ours; dotted ones belong to the older file layout. */
  readonly file: readonly [string, ...string[]];
  /** Reads a raw value. `name` is the environment name or file key that it came by. */
  readonly parse: (raw: unknown, name: string) => Parsed<T>;
  readonly default: T;
  /** How the default is told in the documentation where the value itself does not tell it. */
  readonly defaultText?: string;
  readonly meaning: string;
  /** Names of one layer that disagree stop the start; without this the strongest name wins with a warning. */
  readonly mustAgree?: true;
  readonly secret?: true;
}

/** Keeps the type of each entry, which `Values` of the table is made of. */
export const setting = <T>(entry: Setting<T>): Setting<T> => entry;
