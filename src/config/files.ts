/** The few things that configuration needs of the file system, as a value, so that a test can stand in for `/etc`. */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';

export interface Files {
  /** The text of a file and its permission bits, or undefined when there is none. Throws when it cannot be read. */
  readonly read: (path: string) => { readonly text: string; readonly mode: number } | undefined;
  readonly isReadable: (path: string) => boolean;
}

export const realFiles: Files = {
  read: (path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? undefined : { text: readFileSync(path, 'utf8'), mode: stat.mode };
  },
  isReadable: (path) => {
    try {
      accessSync(path, constants.R_OK);
      return statSync(path).isFile();
    } catch {
      return false;
    }
  },
};
