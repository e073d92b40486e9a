/** Runs all benchmarks, one after another, and writes their results into `docs/benchmarks.md`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { makeFolder } from './lib/database.ts';
import { describeMachine } from './lib/machine.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { type Run, updatePage } from './lib/page.ts';
import { endProcess } from './lib/processes.ts';
import type { Report } from './lib/report.ts';

const benchmarks = [
  'tool-call',
  'native-call',
  'native-list',
  'events',
  'growth',
  'authorise',
  'limits',
  'streams',
  'footprint',
];
const root = fileURLToPath(new URL('../', import.meta.url));

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main({ seconds, json }: BenchOptions, later: Later): Promise<void> {
  const folder = await makeFolder('talos-bench-results-', later);
  const run = (args: readonly string[]) => runNode(args, later);
  // What users run is the built gateway.
  await run(['node_modules/typescript/bin/tsc', '--project', 'tsconfig.build.json']);
  const machine = describeMachine();
  const reports: Report[] = [];
  for (const name of benchmarks) {
    const file = join(folder, `${name}.json`);
    await run([`bench/${name}.ts`, '--seconds', String(seconds), '--json', file]);
    reports.push(JSON.parse(await readFile(file, 'utf8')) as Report);
  }
  const date = new Date().toISOString().slice(0, 10);
  const results: Run = { date, command: `npm run bench -- --seconds ${seconds}`, machine, reports };
  await updatePage(join(root, 'docs/benchmarks.md'), results);
  if (json !== undefined) await writeFile(json, `${JSON.stringify(results, null, 2)}\n`);
}

/** Runs Node.js in the project's folder. Throws when it fails. */
async function runNode(args: readonly string[], later: Later): Promise<void> {
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' });
  later(() => endProcess(child));
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${args[0]} failed.`);
}
