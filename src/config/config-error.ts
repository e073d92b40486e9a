/** Why the gateway will not start: every problem of the configuration at once, one sentence each. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];
  /** The exit code of a process that stops for this reason. */
  readonly exitCode = 2;

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}
