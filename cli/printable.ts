/** Text of others, fit for a terminal: what would move its cursor, change its colours or turn its text around is gone. */

export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd');
}
