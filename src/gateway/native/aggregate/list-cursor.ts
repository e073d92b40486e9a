/**
 * Where a list of all servers goes on: at each server that has more, by its own cursor. Nothing is remembered here, so
 * any gateway can go on with it; whoever makes one up asks no server for more than it could be asked anyway.
 */
import { bounds } from '../../../config/bounds.ts';
import { decodeBase64url, encodeBase64url } from '../../../core/base64url.ts';
import { isJsonObject, type JsonValue } from '../../../core/json.ts';
import { parseJsonBytesStrict } from '../../../core/strict-json.ts';

export interface ListCursor {
  /** How many pages there were. */
  readonly pages: number;
  /** The servers' own cursors, by server. */
  readonly at: ReadonlyMap<string, string>;
}

export const firstPage: ListCursor = { pages: 0, at: new Map() };

/** Undefined when the list is at its end, as far as it is gone through. */
export function encodeListCursor({ pages, at }: ListCursor): string | undefined {
  if (at.size === 0 || pages >= bounds.aggregateListPagesMax) return undefined;
  return encodeBase64url(Buffer.from(JSON.stringify({ pages, at: Object.fromEntries(at) })));
}

/** Undefined for what is none. */
export function decodeListCursor(text: JsonValue): ListCursor | undefined {
  const bytes = typeof text === 'string' ? decodeBase64url(text) : undefined;
  const { pages, at } = bytes === undefined ? {} : (objectIn(bytes) as { pages?: unknown; at?: unknown });
  if (typeof pages !== 'number' || !isJsonObject(at)) return undefined;
  const cursors = Object.entries(at).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return { pages, at: new Map(cursors) };
}

function objectIn(bytes: Buffer): object {
  try {
    const value = parseJsonBytesStrict(bytes);
    return isJsonObject(value) ? value : {};
  } catch {
    return {};
  }
}
