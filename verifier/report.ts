/** What a verification answers: one line for each thing that was looked at, and whether all of them hold. */

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

export interface Report {
  /** True when every check holds. */
  readonly ok: boolean;
  readonly checks: readonly Check[];
}

export function check(name: string, ok: boolean, detail: string): Check {
  return { name, ok, detail };
}

export function isAllOk(checks: readonly Check[]): boolean {
  return checks.length > 0 && checks.every(({ ok }) => ok);
}
