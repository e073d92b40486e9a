/** What a verification answers: one line for each thing that was looked at, and whether all of them hold. */
import { Refusal } from './bytes.ts';

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

export class Checklist {
  readonly checks: Check[] = [];

  /** Looks at one thing: `judge` returns what to say of it when it holds, and throws a `Refusal` when it does not. */
  async look(name: string, judge: () => string | Promise<string>): Promise<void> {
    try {
      this.checks.push({ name, ok: true, detail: await judge() });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.checks.push({ name, ok: false, detail: error.message });
    }
  }

  get ok(): boolean {
    return this.checks.length > 0 && this.checks.every(({ ok }) => ok);
  }
}
