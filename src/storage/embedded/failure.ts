/** Why the embedded PostgreSQL cannot run: one sentence for the operator, with the way out in it. */
import { describeError } from '../../core/errors.ts';

export type EmbeddedFailure =
  | 'unsupported_platform'
  | 'in_use'
  | 'other_version'
  | 'not_a_store'
  | 'lost'
  | 'unwritable'
  | 'disk_full'
  | 'no_account'
  | 'failed';

/** The message is the sentence to print; `reason` is for programs. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
  readonly reason: EmbeddedFailure;

  constructor(reason: EmbeddedFailure, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.reason = reason;
  }
}

/** What to do where the embedded PostgreSQL is no option. */
export const useDatabaseUrl =
  'Set DATABASE_URL to a PostgreSQL server (14 or newer) instead, for example ' +
  'DATABASE_URL=postgresql://user:password@localhost:5432/talos.';

const fullDisk = new Set(['ENOSPC', 'EDQUOT']);
const closedFolder = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'ELOOP', 'ENAMETOOLONG']);

/** Turns what a file operation threw into a sentence about `folder`; an `EmbeddedPostgresError` stays as it is. */
export function folderFailure(error: unknown, folder: string): EmbeddedPostgresError {
  if (error instanceof EmbeddedPostgresError) return error;
  const code = errorCode(error) ?? '';
  if (fullDisk.has(code)) return diskFull(folder, error);
  if (closedFolder.has(code)) return unwritable(folder, error);
  return new EmbeddedPostgresError('failed', `The embedded PostgreSQL did not start: ${describeError(error)}.`, error);
}

/** Turns what PostgreSQL printed before it gave up into a sentence about `folder`. */
export function outputFailure(output: string, folder: string): EmbeddedPostgresError {
  if (/No space left on device|Disk quota exceeded/i.test(output)) return diskFull(folder);
  if (output.includes('could not look up effective user ID')) return namelessAccount();
  if (/Permission denied|Read-only file system/.test(output)) return unwritable(folder, output.trim());
  return new EmbeddedPostgresError('failed', `The embedded PostgreSQL did not start: ${lastSentence(output)}`);
}

/** The `code` of a Node.js system error. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function diskFull(folder: string, cause?: unknown): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'disk_full',
    `The disk that holds ${folder} is full: free some space there, or set TALOS_DATA_DIR to a folder on another disk.`,
    cause,
  );
}

function unwritable(folder: string, cause: unknown): EmbeddedPostgresError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new EmbeddedPostgresError(
    'unwritable',
    `The data folder ${folder} cannot be used by this user (${detail}): set TALOS_DATA_DIR to a folder that this user may write.`,
    cause,
  );
}

function namelessAccount(): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'no_account',
    `The user that runs this process has no name in /etc/passwd, which initdb insists on. ${useDatabaseUrl}`,
  );
}

function lastSentence(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  const telling = lines.findLast((line) => /FATAL|PANIC|error:/.test(line)) ?? lines.slice(-3).join(' ');
  if (telling === '') return 'it ended without a word.';
  return `${telling.replaceAll(/\s+/g, ' ').trim().replace(/\.$/, '')}.`;
}
