/** What reading the configuration brings to light: problems stop the start, warnings are told and let it go on. */
export class Findings {
  readonly problems: string[] = [];
  readonly warnings: string[] = [];

  problem(sentence: string): void {
    this.problems.push(sentence);
  }

  warn(sentence: string): void {
    this.warnings.push(sentence);
  }
}
