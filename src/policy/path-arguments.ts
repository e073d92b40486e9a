/**
 * The paths among a call's arguments, in a form that can be compared. A value whose meaning could differ between us and
 * the tool that will open it (an encoded dot, a backslash, a relative escape) has no such form.
 */
import { bounds } from '../config/bounds.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';

const pathNames = new Set(['path', 'file', 'uri']);

/**
 * Every value of an argument named `path`, `file` or `uri`, or named in `extraNames`, at any depth, normalised. Undefined
 * when one of them is neither a path nor a list of paths, has no normal form, or when there are too many.
 */
export function pathArguments(args: JsonObject, extraNames: readonly string[] = []): readonly string[] | undefined {
  const names = extraNames.length === 0 ? pathNames : new Set([...pathNames, ...extraNames]);
  const values: JsonValue[] = [];
  collect(args, names, values);
  if (values.length > bounds.pathArgumentsMax) return undefined;
  const paths = values.map((value) => (typeof value === 'string' ? normalisePath(value) : undefined));
  return paths.every((path) => path !== undefined) ? paths : undefined;
}

function collect(value: JsonValue, names: ReadonlySet<string>, found: JsonValue[]): void {
  if (Array.isArray(value)) {
    for (const item of value) collect(item, names, found);
  } else if (isJsonObject(value)) {
    for (const [key, member] of Object.entries(value)) {
      if (names.has(key)) found.push(...(Array.isArray(member) ? member : [member]));
      collect(member, names, found);
    }
  }
}

// Control characters and backslashes, and escapes of dot, slash, backslash, per cent and NUL, which a second decoding
// would turn into path syntax.
const ambiguous = /[\p{Cc}\\]|%(?:2e|2f|5c|25|00)/iu;
// Two letters at least: `C:/docs` is a drive.
const uriScheme = /^[a-z][a-z0-9+.-]+:/i;

/**
 * The normal form of a path or URI: `.` and `..` resolved, doubled slashes and the last slash removed, a `file:` URI as
 * its path. Undefined when it has none. Symbolic links are the tool server's to judge.
 */
export function normalisePath(value: string): string | undefined {
  if (value === '' || value.length > bounds.pathArgumentCharsMax) return undefined;
  if (ambiguous.test(value) || value !== value.trim()) return undefined;
  if (!uriScheme.test(value)) return resolveDots(value);
  return /^file:/i.test(value) ? normaliseFileUri(value) : normaliseUri(value);
}

function resolveDots(path: string): string | undefined {
  // Two leading slashes are a host on some systems and the root on others.
  if (path.startsWith('//')) return undefined;
  const isAbsolute = path.startsWith('/');
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') segments.push(segment);
    else if (segments.pop() === undefined && !isAbsolute) return undefined;
  }
  if (isAbsolute) return `/${segments.join('/')}`;
  return segments.length === 0 ? '.' : segments.join('/');
}

const localFileUri = /^file:\/\/(?:localhost)?(\/[^?#]*)$/i;

function normaliseFileUri(uri: string): string | undefined {
  const path = decodePercent(localFileUri.exec(uri)?.[1] ?? '');
  return path === undefined || path === '' || ambiguous.test(path) ? undefined : resolveDots(path);
}

function decodePercent(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function normaliseUri(text: string): string | undefined {
  const url = URL.parse(text);
  // Before an @ stands whatever the sender likes, such as a host that is granted.
  if (url === null || url.username !== '' || url.password !== '') return undefined;
  const { href } = url;
  return href.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : href;
}
