/**
 * Path globs: `*` and `?` stay within one segment, `**` is a whole segment and stands for any number of them, everything
 * else is literal. Matching never backtracks further than the last star, so no pattern is slow.
 */

export interface Glob {
  readonly segments: readonly string[];
}

const globstar = '**';
// A backslash is no escape here, and a segment of dots would never meet a normalised path.
const neverMatches = /[\\\p{Cc}]|(?:^|\/)\.{1,2}(?:\/|$)/u;

/** The glob that `pattern` spells; undefined when it is empty or cannot match any normalised path. */
export function compileGlob(pattern: string): Glob | undefined {
  if (pattern === '' || neverMatches.test(pattern)) return undefined;
  const segments = pattern.split('/');
  const misplaced = segments.some((segment) => segment.includes(globstar) && segment !== globstar);
  return misplaced ? undefined : { segments };
}

/** Whether the whole of `path`, which must be normalised, is matched. Case-sensitive. `/docs/**` matches `/docs` too. */
export function globMatches(glob: Glob, path: string): boolean {
  return matchesSequence(glob.segments, path.split('/'), globstar, segmentMatches);
}

// The one empty segment of a normalised path is that of the root, which no star of a single segment means.
function segmentMatches(pattern: string, segment: string): boolean {
  if (segment === '') return pattern === '';
  return matchesSequence(pattern, segment, '*', unitMatches);
}

function unitMatches(pattern: string, unit: string): boolean {
  return pattern === '?' || pattern === unit;
}

/** Matches `items` one by one, where the element `star` stands for any number of items. */
function matchesSequence(
  pattern: ArrayLike<string>,
  items: ArrayLike<string>,
  star: string,
  matchesOne: (pattern: string, item: string) => boolean,
): boolean {
  let at = 0;
  let starAt = -1;
  let resumeAt = 0;
  for (let i = 0; i < items.length; ) {
    const expected = pattern[at];
    if (expected === star) {
      starAt = at++;
      resumeAt = i;
    } else if (expected !== undefined && matchesOne(expected, items[i] ?? '')) {
      at++;
      i++;
    } else if (starAt >= 0) {
      // Let the last star take one item more; an earlier star could not help where this one fails.
      at = starAt + 1;
      i = ++resumeAt;
    } else {
      return false;
    }
  }
  while (pattern[at] === star) at++;
  return at === pattern.length;
}
