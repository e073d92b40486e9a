/** What no attempt will ever write, for what it holds: it is refused by itself, and the log is not away because of it. */
import pg from 'pg';

/** Thrown before anything is sent: the value cannot be part of a statement. */
export class UnwritableError extends Error {
  override readonly name = 'UnwritableError';
}

// Cardinality, data, constraints, limits of the program such as the length of an index entry, and a type of no column.
const codes = /^(?:21|22|23|54)...$|^42804$/;
// Its own tables hold what the log itself makes: what they refuse is no matter of one entry.
const ownTables = /^(?:audit_event|log_(?:head|intent|partition|rollup|tile|writer))/;

/**
 * Whether an error is the fault of what was to be written. Not of where it was to go, and not of how the store is: then the
 * same may be written a moment later, or may have been.
 */
export function isUnwritable(error: unknown): boolean {
  if (error instanceof UnwritableError) return true;
  if (!(error instanceof pg.DatabaseError) || !codes.test(error.code ?? '')) return false;
  return !ownTables.test(error.table ?? '');
}

/** A text as it stands in a statement. Throws `UnwritableError` for one with NUL, which no column can hold. */
export function sqlText(value: string): string {
  if (value.includes('\0')) throw new UnwritableError('No column holds a text with NUL.');
  return pg.escapeLiteral(value);
}
