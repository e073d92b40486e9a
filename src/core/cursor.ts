/**
 * The public cursor: base64url("<seconds>:<uuidv7>"). Decoded and compared as a tuple it is exactly the order of the
 * log. Encoded text does not sort and is never compared.
 */
import { decodeBase64url, encodeBase64url } from './base64url.ts';
import { TalosError } from './errors.ts';
import { isUuidv7, uuidv7Floor, uuidv7Ms } from './uuidv7.ts';

export interface Cursor {
  /** Unix time in whole seconds. */
  readonly seconds: number;
  readonly eventId: string;
}

export function encodeCursor(cursor: Cursor): string {
  return encodeBase64url(Buffer.from(`${cursor.seconds}:${cursor.eventId}`, 'utf8'));
}

/** The cursor of the event with this id. */
export function cursorOf(eventId: string): string {
  return encodeCursor({ seconds: Math.floor(uuidv7Ms(eventId) / 1000), eventId });
}

const cursorPattern = /^(0|[1-9][0-9]{0,15}):([0-9a-f-]{36})$/;
const cursorCharsMax = 128;

/** Throws `TALOS_INVALID_CURSOR` for what no gateway can have issued. */
export function decodeCursor(text: string): Cursor {
  const bytes = text.length <= cursorCharsMax ? decodeBase64url(text) : undefined;
  const match = bytes === undefined ? null : cursorPattern.exec(bytes.toString('latin1'));
  const [, seconds, eventId] = match ?? [];
  if (seconds === undefined || eventId === undefined || !isUuidv7(eventId))
    throw new TalosError('TALOS_INVALID_CURSOR');
  return { seconds: Number(seconds), eventId };
}

/** Negative when `a` comes before `b` in the log, positive when after, 0 when they are the same. */
export function compareCursors(a: Cursor, b: Cursor): number {
  if (a.seconds !== b.seconds) return a.seconds - b.seconds;
  return a.eventId < b.eventId ? -1 : Number(a.eventId > b.eventId);
}

/**
 * The event id that splits the log exactly where the cursor does. For a cursor of ours that is its own id; for one whose
 * seconds do not belong to its id, the tuple comparison puts the split at an edge of that second.
 */
export function splitId(cursor: Cursor): string {
  const idSeconds = Math.floor(uuidv7Ms(cursor.eventId) / 1000);
  if (cursor.seconds === idSeconds) return cursor.eventId;
  return uuidv7Floor((cursor.seconds < idSeconds ? cursor.seconds + 1 : cursor.seconds) * 1000);
}
