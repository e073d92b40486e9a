/** Runs the official conformance suite against a server, and reads what it found for each of its scenarios. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { childEnv } from './child-env.ts';

const program = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url),
);
const requirements = join(dirname(program), '../requirements');

const attemptsMax = 3;

export type Revision = '2025-11-25' | '2026-07-28';

export interface Check {
  readonly id: string;
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO';
  readonly errorMessage?: string;
}

/** Checks by scenario. */
export type Findings = ReadonlyMap<string, readonly Check[]>;

export interface Scenarios {
  /** What a server of the revision has to pass. */
  readonly required: readonly string[];
  /** What is run as well, and counts for nothing. */
  readonly unscored: readonly string[];
}

/** The scenarios for servers, as the suite froze them for a revision. */
export async function scenariosOf(revision: Revision): Promise<Scenarios> {
  const frozen = parse(await readFile(join(requirements, `${revision}.yaml`), 'utf8')) as {
    readonly server: readonly string[];
    readonly not_scored: readonly { readonly scenario: string; readonly leg: string }[];
  };
  const unscored = frozen.not_scored.filter(({ leg }) => leg === 'server').map(({ scenario }) => scenario);
  return { required: frozen.server, unscored };
}

/**
 * Runs what a revision requires, and what the suite runs beside it. Rejects when the suite found nothing to run. Some
 * scenarios look at a stream for half a second and no longer, so one that finds fault and is not known to is run again.
 */
export async function runConformance(
  url: string,
  revision: Revision,
  isKnownToFail: (scenario: string) => boolean,
): Promise<Findings> {
  const findings = await runInto(['--url', url, '--requirements', revision]);
  for (let attempt = 1; attempt < attemptsMax; attempt++) {
    for (const [scenario, checks] of findings) {
      if (problemsOf(checks).length === 0 || isKnownToFail(scenario)) continue;
      const again = await runInto(['--url', url, '--scenario', scenario, '--spec-version', revision]);
      findings.set(scenario, again.get(scenario) ?? []);
    }
  }
  return findings;
}

async function runInto(args: readonly string[]): Promise<Map<string, Check[]>> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-conformance-'));
  try {
    const said = await runSuite(['server', ...args, '--output-dir', folder]);
    const findings = await readFindings(folder);
    if (findings.size === 0) throw new Error(`the suite ran nothing: ${said}`);
    return findings;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Its exit code only repeats what the checks say. */
async function runSuite(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [program, ...args], {
    env: childEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(child, 'close');
  return Buffer.concat(chunks).toString();
}

/** Each scenario has a folder, named after it and the time. */
async function readFindings(folder: string): Promise<Map<string, Check[]>> {
  const findings = new Map<string, Check[]>();
  for (const name of await readdir(folder)) {
    const scenario = /^server-(.+)-\d{4}-\d{2}-\d{2}T/.exec(name)?.[1];
    if (scenario === undefined) throw new Error(`not a folder of a scenario: ${name}`);
    findings.set(scenario, JSON.parse(await readFile(join(folder, name, 'checks.json'), 'utf8')) as Check[]);
  }
  return findings;
}

/** What was found wrong, in the suite's words; empty for a scenario that passes. A warning is one too. */
export function problemsOf(checks: readonly Check[] | undefined): string[] {
  if (checks === undefined) return ['was not run'];
  return checks
    .filter(({ status }) => status === 'FAILURE' || status === 'WARNING')
    .map(({ id, errorMessage }) => `${id}: ${errorMessage ?? 'no reason'}`);
}

/** Ids of the checks that ended so. */
export function idsOf(checks: readonly Check[] | undefined, ended: Check['status']): Set<string> {
  return new Set((checks ?? []).filter(({ status }) => status === ended).map(({ id }) => id));
}
