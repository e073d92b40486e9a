/** Finds the name that somebody probably meant, for the sentence that refuses a misspelt one. */

/** The closest of `names` by edit distance, or undefined when none is at all alike. */
export function nearestName(wanted: string, names: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(wanted.length / 2));
  const ranked = names
    .map((name) => ({ name, distance: editDistance(wanted.toLowerCase(), name.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance);
  return ranked[0]?.name;
}

const listedNamesMax = 16;

/** "Did you mean …?" with the closest name; when nothing is close, the list, or where to find it. */
export function suggest(wanted: string, names: readonly string[]): string {
  const nearest = nearestName(wanted, names);
  if (nearest !== undefined) return `Did you mean "${nearest}"?`;
  return names.length > listedNamesMax ? 'See docs/configuration.md.' : `Valid here: ${names.join(', ')}.`;
}

/** Levenshtein distance: single-character insertions, deletions and replacements. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [row, left] of [...a].entries()) {
    const current = [row + 1];
    for (const [column, right] of [...b].entries()) {
      const replaced = (previous[column] ?? 0) + (left === right ? 0 : 1);
      current.push(Math.min(replaced, (previous[column + 1] ?? 0) + 1, (current[column] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
