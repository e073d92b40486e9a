/** pgbench: single-row insert and commit of a row like ours with nothing but a primary key. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Later } from './cleanup.ts';
import { makeFolder, query } from './database.ts';
import { endProcess } from './processes.ts';
import type { Contender, Turn } from './rounds.ts';

const clientsWanted = 64;
// Connections that stay free for the gateway and for us.
const connectionsKept = 14;
const rowChars = 600;
// Of its log, from which the percentiles come; a full one costs as much as a transaction.
const loggedShare = 0.1;

export interface Pgbench {
  readonly version: string;
  /** Its connections, each with one transaction under way. */
  readonly clients: number;
  readonly contender: Contender;
}

interface Setup {
  readonly program: string;
  readonly url: string;
  readonly folder: string;
  readonly clients: number;
}

/** Undefined when pgbench is not installed. */
export async function preparePgbench(url: string, later: Later): Promise<Pgbench | undefined> {
  const program = findProgram();
  if (program === undefined) return undefined;
  await query(url, 'CREATE TABLE bench_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)');
  const folder = await makeFolder('talos-bench-pgbench-', later);
  const script = join(folder, 'insert.sql');
  await writeFile(script, 'INSERT INTO bench_row (body) VALUES (:body);\n');
  const clients = await clientsFor(url);
  const version = /(\d+\.\d+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? '';
  const setup = { program, url, folder, clients };
  return { version, clients, contender: { name: 'pgbench', run: (seconds) => insert(setup, seconds, later) } };
}

/** As many clients as are wanted, or as the server has room for. */
async function clientsFor(url: string): Promise<number> {
  const [row] = await query<{ max: number }>(url, "SELECT current_setting('max_connections')::int AS max");
  return Math.min(clientsWanted, (row?.max ?? 0) - connectionsKept);
}

/** On the path, or where Debian keeps it: apart from the programs that everybody needs. */
function findProgram(): string | undefined {
  const find = 'command -v pgbench || ls -1 /usr/lib/postgresql/*/bin/pgbench | sort -V | tail -n 1';
  const found = execFileSync('sh', ['-c', `${find} 2>/dev/null || true`], { encoding: 'utf8' }).trim();
  return found === '' ? undefined : found;
}

async function insert({ program, url, folder, clients }: Setup, seconds: number, later: Later): Promise<Turn> {
  const body = "'".concat('r'.repeat(rowChars), "'");
  const args = [
    ...['--no-vacuum', '--client', String(clients), '--jobs', '2', '--protocol', 'prepared'],
    ...['--time', String(Math.max(1, Math.round(seconds))), '--file', join(folder, 'insert.sql')],
    ...[
      '--define',
      `body=${body}`,
      '--log',
      '--log-prefix',
      join(folder, 'log'),
      '--sampling-rate',
      String(loggedShare),
    ],
    url,
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env: {} });
  later(() => endProcess(child));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`pgbench failed:\n${output}`);
  return { ...readOutput(output), latenciesUs: await readLatencies(folder) };
}

function readOutput(output: string): Pick<Turn, 'operations' | 'errors' | 'seconds'> {
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  const operations = number(/transactions actually processed: (\d+)/);
  const seconds = operations / number(/tps = ([\d.]+)/);
  return { operations, errors: number(/number of failed transactions: (\d+)/), seconds };
}

/** The third column of each line of its logs is the latency in microseconds. */
async function readLatencies(folder: string): Promise<Uint32Array> {
  const files = (await readdir(folder)).filter((name) => name.startsWith('log.'));
  const latencies: number[] = [];
  for (const file of files) {
    const text = await readFile(join(folder, file), 'utf8');
    for (const line of text.split('\n')) if (line !== '') latencies.push(Number(line.split(' ')[2]));
    await rm(join(folder, file));
  }
  return Uint32Array.from(latencies);
}
