/** Nesting depth, measured before recursive code (serialisers, compilers) meets a value that a stranger sent. */

/** Whether no array or object in `value` is nested more than `depthMax` levels deep. */
export function depthWithin(value: unknown, depthMax: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (depthMax === 0) return false;
  const members = Array.isArray(value) ? value : Object.values(value);
  return members.every((member) => depthWithin(member, depthMax - 1));
}
