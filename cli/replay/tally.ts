/** Recorded calls by what would become of them: what changes, with examples, and what cannot be judged, with the reason. */
import type { RecordedCall } from '../../src/policy/recorded-call.ts';
import type { Verdict } from '../../src/policy/replay.ts';

type Change = 'newly_denied' | 'newly_allowed' | 'not_judged';

interface Row {
  readonly change: Change;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly why: string;
  calls: number;
  /** Ids of records. */
  readonly examples: string[];
}

export interface Report {
  /** All that were found; the others are these. */
  readonly calls: number;
  readonly unchanged: number;
  readonly newly_denied: number;
  readonly newly_allowed: number;
  readonly not_judged: number;
  /** Why, and how many. */
  readonly not_judged_because: Readonly<Record<string, number>>;
  readonly changes: readonly Row[];
}

const examplesMax = 3;

export class Tally {
  readonly #rows = new Map<string, Row>();
  #calls = 0;
  #unchanged = 0;

  add(call: RecordedCall, verdict: Verdict): void {
    this.#calls += call.calls;
    const change = changeOf(call, verdict);
    if (change === undefined) {
      this.#unchanged += call.calls;
      return;
    }
    const { principal } = call;
    const about = {
      change,
      principal: principal.authMode === 'bearer' ? principal.id : 'anonymous',
      server: call.serverId,
      tool: call.toolName,
      why: whyOf(verdict),
    };
    const key = JSON.stringify(about);
    const row = this.#rows.get(key) ?? { ...about, calls: 0, examples: [] };
    row.calls += call.calls;
    if (row.examples.length < examplesMax) row.examples.push(call.eventId);
    this.#rows.set(key, row);
  }

  report(): Report {
    const changes = [...this.#rows.values()];
    const callsOf = (change: Change) => sum(changes.filter((row) => row.change === change));
    const unjudged = Map.groupBy(
      changes.filter(({ change }) => change === 'not_judged'),
      ({ why }) => why,
    );
    return {
      calls: this.#calls,
      unchanged: this.#unchanged,
      newly_denied: callsOf('newly_denied'),
      newly_allowed: callsOf('newly_allowed'),
      not_judged: callsOf('not_judged'),
      not_judged_because: Object.fromEntries([...unjudged].map(([why, rows]) => [why, sum(rows)])),
      changes,
    };
  }
}

/** The report in sentences. */
export function reportText({
  calls,
  unchanged,
  not_judged: unjudged,
  not_judged_because: because,
  changes,
}: Report): string {
  const lines = changes
    .filter(({ change }) => change !== 'not_judged')
    .map(
      ({ change, principal, server, tool, why, calls: count, examples }) =>
        `${sentences[change]} ${count} calls of ${server}/${tool} by ${JSON.stringify(principal)}${why === '' ? '' : ` (${why})`}, such as ${examples[0]}`,
    );
  const reasons = Object.entries(because).map(([why, count]) => `not judged: ${count}, because ${why}`);
  return [...lines, ...reasons, `${calls} calls, ${unchanged} as they were, ${unjudged} not judged.`].join('\n');
}

const sentences: Readonly<Record<Change, string>> = {
  newly_denied: 'would be denied: ',
  newly_allowed: 'would be allowed:',
  not_judged: 'cannot be judged:',
};

function sum(rows: readonly Row[]): number {
  return rows.reduce((calls, row) => calls + row.calls, 0);
}

function changeOf({ wasAllowed }: RecordedCall, { kind }: Verdict): Change | undefined {
  if (kind === 'unknown') return 'not_judged';
  if (kind === 'same' || wasAllowed === (kind === 'allow')) return undefined;
  return wasAllowed ? 'newly_denied' : 'newly_allowed';
}

function whyOf(verdict: Verdict): string {
  if (verdict.kind === 'unknown') return unknownBecause[verdict.because];
  if (verdict.kind !== 'deny') return '';
  return [verdict.reason, verdict.detail].filter((word) => word !== undefined).join(' ');
}

const unknownBecause: Readonly<Record<Extract<Verdict, { kind: 'unknown' }>['because'], string>> = {
  arguments: 'its arguments decide',
  no_token: 'no token is given for it',
  no_roles: 'no roles are given, and one may have allowed it',
  only_counted: 'reads are only counted, and not recorded one by one',
  not_named: 'its record does not say in full what was asked for',
  right_not_recorded: 'its record does not say by what right it was done',
  secret_of_the_administrator: 'it was done with the admin secret, which no policy limits',
};
