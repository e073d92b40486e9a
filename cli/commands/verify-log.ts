/** `talos verify log`: what a running log shows now, beside what it showed the last time. */
import type { Command } from 'commander';
import { readEnvironment } from '../../src/config/env.ts';
import type { Decision } from '../../verifier/index.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { printReport } from '../print-report.ts';
import { startProgress } from '../progress.ts';
import { type TrustOptions, trustOf, trustOptions } from '../trust-options.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';
import { type LogSource, LogUnreachable, logSource } from '../verify-log/source.ts';
import { keepEvidence, type Memory, readMemory, writeMemory } from '../verify-log/state.ts';
import { type LogReport, verifyLog } from '../verify-log/verify-log.ts';

interface Options extends TrustOptions {
  readonly url: string;
  readonly state?: string;
  readonly token?: string;
  readonly records: boolean;
  readonly trustOnFirstUse?: true;
  readonly json?: true;
}

const exitCodeUnreachable = 3;
/** Signed by the log, and not what it signed before. */
const contradictions: readonly Decision[] = ['rollback', 'fork', 'inconsistent'];

export function verifyLogCommand(verify: Command): void {
  const command = verify
    .command('log')
    .description(
      'Check that a running log still holds all that it showed the last time. Exits with 3 when the gateway does not answer.',
    )
    .option('--url <url>', 'where the gateway listens', gatewayUrlDefault)
    .option('--state <file>', 'what was seen the last time; made when it is not there')
    .option(
      '--token <capability>',
      'a capability for tool:gateway/method:events.read of all teams, to hash the new records too (default: $TALOS_TOKEN)',
    )
    .option('--no-records', 'do not read the records, even with a token')
    .option('--trust-on-first-use', 'believe the keys that the gateway names now, and only those from then on');
  trustOptions(command).option('--json', 'answer as JSON').action(reportingUsage(command, run));
}

async function run(options: Options): Promise<void> {
  const { state } = options;
  if (state === undefined) throw new UsageError('Where is it remembered what was seen? Give a file with --state.');
  try {
    await look({ ...options, state });
  } catch (error) {
    if (!(error instanceof LogUnreachable)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = exitCodeUnreachable;
  }
}

async function look(options: Options & { readonly state: string }): Promise<void> {
  const token = options.token ?? readEnvironment()['TALOS_TOKEN'];
  const source = logSource(options.url, token);
  const memory = await readMemory(options.state);
  const learned = await learnedKeys(options, source, memory);
  const trust = await trustOf({ ...options, key: [...new Set([...options.key, ...learned])] });
  const withRecords = options.records && token !== undefined;
  const progress = startProgress('records');
  const looking = verifyLog({ source, memory, trust, withRecords, onProgress: progress.show });
  const report = await looking.finally(progress.end);
  await remember(options.state, learned, report);
  printReport(report, options.json === true);
  if (report.ok && !withRecords) console.error('The records themselves were not read: that takes --token.');
}

/** The keys of the first look are asked for once; afterwards what was remembered counts, whatever the gateway says. */
async function learnedKeys(
  options: Options,
  source: LogSource,
  memory: Memory | undefined,
): Promise<readonly string[]> {
  if (options.trustOnFirstUse !== true) return [];
  if (options.policy !== undefined) throw new UsageError('Give either --policy or --trust-on-first-use.');
  return memory === undefined ? await source.keys() : memory.keys;
}

async function remember(state: string, keys: readonly string[], report: LogReport): Promise<void> {
  const { ok, seen, note, reading, decision } = report;
  if (ok && seen !== undefined) await writeMemory(state, { checkpoint: seen, keys, reading });
  if (!contradictions.includes(decision)) return;
  console.error(`The log contradicts itself: its note is kept in ${await keepEvidence(state, note)} beside ${state}.`);
}
