/**
 * Public test vectors of the protocol. They are not part of the project: `TALOS_VECTORS` names their folder, else they
 * are looked for beside the checkout. Without them the tests that need them are skipped, which CI counts as failures.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe } from 'vitest';

const folder = process.env['TALOS_VECTORS'] ?? resolve(import.meta.dirname, '../../../shared/vectors');

/** `describe`, skipped when there are no vectors. */
export const describeVectors = describe.skipIf(!existsSync(folder));

/** Every file below a folder of the vectors, by the path that the others take. */
export function vectorFiles(below: string): string[] {
  return globSync(`${below}/**/*.*`, { cwd: folder }).sort();
}

/** The text of a vector file, without the line end that closes it. */
export function vectorText(path: string): string {
  return readFileSync(join(folder, path), 'utf8').replace(/\n$/, '');
}

/** A JSON vector file, in the shape that the caller knows it to have. */
export function vector<T = unknown>(path: string): T {
  return JSON.parse(vectorText(path)) as T;
}
