/** The page of results: the part between two marks is written by a run, all around it is written by hand and kept. */
import { readFile, writeFile } from 'node:fs/promises';
import { budgetTable, type Report, reportMarkdown } from './report.ts';

const begin = '<!-- measured: begin -->';
const end = '<!-- measured: end -->';

export interface Run {
  /** ISO date. */
  readonly date: string;
  readonly command: string;
  readonly machine: Readonly<Record<string, string>>;
  readonly reports: readonly Report[];
}

/** Writes `run` into the page at `path`, which must hold both marks. */
export async function updatePage(path: string | URL, run: Run): Promise<void> {
  const page = await readFile(path, 'utf8');
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from === -1 || to < from) throw new Error('The page of results lacks the marks between which it is written.');
  await writeFile(path, `${page.slice(0, from + begin.length)}\n\n${measured(run)}\n\n${page.slice(to)}`);
}

function measured({ date, command, machine, reports }: Run): string {
  const facts = Object.entries(machine).map(([name, value]) => `${name} ${value}`);
  return [
    `Measured on ${date} with \`${command}\`: ${facts.join('; ')}.`,
    '## Budgets',
    budgetTable(reports.flatMap(({ budgets }) => budgets)),
    ...reports.flatMap((report) => [`## ${titles[report.benchmark] ?? report.benchmark}`, reportMarkdown(report)]),
  ].join('\n\n');
}

const titles: Readonly<Record<string, string>> = {
  'tool-call': 'Tool calls',
  'native-call': 'Tool calls over MCP',
  'native-list': 'Lists over MCP',
  events: 'Events',
  growth: 'Growth of the log',
  authorise: 'Authorisation',
  limits: 'Limits',
  streams: 'Live streams',
  footprint: 'Memory and start',
};
