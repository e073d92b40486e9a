/** What a benchmark hands over: measurements and verdicts, as a table to read and as JSON to keep. */
import { writeFile } from 'node:fs/promises';
import type { BenchOptions } from './options.ts';
import type { residentMb } from './proc.ts';
import type { Measurement } from './rounds.ts';
import { type Budget, figure, verdict } from './statistics.ts';

export interface Section {
  readonly title: string;
  /** What one operation is: `calls`, `events`. */
  readonly unit: string;
  readonly measurements: readonly Measurement[];
  /** The measurement that the others are compared with, by name. */
  readonly reference: string;
}

export interface Facts {
  readonly title: string;
  readonly rows: readonly (readonly [what: string, value: string])[];
}

export interface Report {
  readonly benchmark: string;
  readonly command: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly sections: readonly Section[];
  readonly facts: readonly Facts[];
  readonly budgets: readonly Budget[];
}

/** Prints the report, writes the JSON file when one is wanted, and fails when an answer was no success. */
export async function deliver(report: Report, options: BenchOptions): Promise<void> {
  console.log(`\n${reportMarkdown(report)}`);
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
  for (const { name, errors, firstError } of report.sections.flatMap(({ measurements }) => measurements)) {
    if (errors > 0) throw new Error(`${name}: ${errors} answers were no success, the first one: ${firstError}`);
  }
}

/** Measurements without a reference, for a look at the gateway alone. */
export function printMeasurements(measurements: readonly Measurement[]): void {
  const reference = measurements[0]?.name ?? '';
  console.log(sectionMarkdown({ title: 'Profiled', unit: 'operations', measurements, reference }));
}

type Memory = ReturnType<typeof residentMb>;

/** Resident memory of the gateway process around a load. */
export function memoryFacts(load: string, before: Memory, after: Memory): Facts {
  return {
    title: `Resident memory of the gateway process ${load}`,
    rows: [
      ['before', `${figure(before.now)} MB`],
      ['after', `${figure(after.now)} MB`],
      ['peak so far', `${figure(after.peak)} MB`],
    ],
  };
}

/** The report as Markdown, which also reads well on a terminal. */
export function reportMarkdown(report: Report): string {
  const environment = Object.entries(report.environment).map(([name, value]) => `${name} ${value}`);
  return [
    `\`${report.command}\`${environment.length === 0 ? '' : ` (${environment.join(', ')})`}`,
    ...report.sections.map(sectionMarkdown),
    ...report.facts.map(({ title, rows }) => `**${title}**\n\n${table(['what', 'value'], rows)}`),
    `**Budgets**\n\n${budgetTable(report.budgets)}`,
  ].join('\n\n');
}

function sectionMarkdown({ title, unit, measurements, reference }: Section): string {
  const base = measurements.find(({ name }) => name === reference);
  const head = ['', `${unit}/s`, `ratio to ${reference}`, 'p50 ms', 'p90 ms', 'p99 ms', 'errors', 'turns'];
  const rows = measurements.map((measured) => [
    measured.name,
    figure(measured.perSecond),
    figure(measured.perSecond / (base?.perSecond ?? Number.NaN)),
    figure(measured.latencyMs?.p50),
    figure(measured.latencyMs?.p90),
    figure(measured.latencyMs?.p99),
    String(measured.errors),
    spread(measured.perSecondOfTurns),
  ]);
  return `**${title}**\n\n${table(head, rows)}\n\n${cpuTable(measurements)}`;
}

/** CPU time, which tells more than rates do where others use the machine too. */
function cpuTable(measurements: readonly Measurement[]): string {
  const meters = [...new Set(measurements.flatMap(({ cpuUs }) => Object.keys(cpuUs)))];
  const rows = measurements.map(({ name, cpuUs }) => {
    const all = Object.values(cpuUs).reduce((sum, micros) => sum + micros, 0);
    return [name, figure(all), ...meters.map((meter) => figure(cpuUs[meter]))];
  });
  return meters.length === 0 ? '' : table(['CPU µs for one', 'all', ...meters], rows);
}

function spread(rates: readonly number[]): string {
  return `${figure(Math.min(...rates))}–${figure(Math.max(...rates))}`;
}

export function budgetTable(budgets: readonly Budget[]): string {
  const rows = budgets.map((budget) => [
    budget.what,
    `${figure(budget.value)} ${budget.unit}`.trim(),
    bar(budget, budget.must),
    bar(budget, budget.aim),
    verdict(budget),
  ]);
  return `${table(['budget', 'measured', 'must', 'aim', 'reached'], rows)}`;
}

function bar({ better }: Budget, value: number | undefined): string {
  if (value === undefined) return '';
  return `${better === 'more' ? '≥' : '≤'} ${figure(value)}`;
}

/** A Markdown table with its columns aligned. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) => Math.max(3, cell.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
