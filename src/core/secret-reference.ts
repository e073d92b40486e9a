/** Secrets by name inside texts of the configuration: `Bearer ${secret:github}`. */
import { secretNamePattern } from './secret-change.ts';

const reference = /\$\{secret:([^}]*)\}/g;

/** The names that a text refers to. */
export function secretNamesIn(text: string): string[] {
  return [...text.matchAll(reference)].map(([, name]) => name ?? '');
}

/** Whether every reference in the text names what can be a secret. */
export function areReferencesSound(text: string): boolean {
  const names = secretNamesIn(text);
  return text.split('${secret:').length === names.length + 1 && names.every((name) => secretNamePattern.test(name));
}

/** The reference to one secret. */
export function secretReference(name: string): string {
  return `\${secret:${name}}`;
}

/** The text with every reference replaced. */
export function fillSecrets(text: string, values: ReadonlyMap<string, string>): string {
  return text.replaceAll(reference, (_, name: string) => values.get(name) ?? '');
}
