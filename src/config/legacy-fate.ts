/** Tells what becomes of a legacy name that somebody has set. */
import type { Findings } from './findings.ts';
import { isHarmless, legacyNames } from './legacy-names.ts';

const legacyByName = new Map(legacyNames.map((entry) => [`${entry.kind} ${entry.name}`, entry]));

/** Tells the fate of a legacy name that is set. False when the name is not in the table. */
export function judgeLegacy(
  kind: 'environment' | 'file key',
  name: string,
  shown: string,
  value: unknown,
  findings: Findings,
): boolean {
  const entry = legacyByName.get(`${kind} ${name}`);
  if (entry === undefined) return false;
  if (entry.fate === 'honoured' || isHarmless(entry, value)) return true;
  if (entry.fate === 'refused') findings.problem(`${shown} is refused: ${entry.note}.`);
  else findings.warn(`${shown} is ignored: ${entry.note}.`);
  return true;
}
