/** `talos fsck`: checks the whole log in the database, record by record. Exits with 0, 1 (faults) or 2 (not checked). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type FsckReport, fsck } from '../../src/audit/fsck/fsck.ts';
import type { Config } from '../../src/config/config.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { openLogSnapshot } from '../../src/storage/log-snapshot.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { withDatabase } from '../open-database.ts';
import { printable } from '../printable.ts';
import { startProgress } from '../progress.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options {
  readonly key: readonly string[];
  readonly checkpoint: readonly string[];
  readonly json?: true;
}

const exitCodeFaults = 1;
const exitCodeNotChecked = 2;

export function fsckCommand(program: Command): void {
  const command = program
    .command('fsck')
    .description(
      'Check the whole log in the database. Exits with 0 when it is sound, 1 when it is not, 2 when it was not checked. With the embedded store the gateway must be stopped.',
    )
    .option('--key <vkey>', 'a verifier key to believe, in place of those that the database names; repeatable', add, [])
    .option('--checkpoint <file>', 'a checkpoint from outside that the log must continue; repeatable', add, [])
    .option('--json', 'answer as JSON');
  command.action(reportingUsage(command, (options: Options) => withDatabase(checker(options), exitCodeNotChecked)));
}

function add(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}

function checker({ key, checkpoint, json }: Options): Parameters<typeof withDatabase>[0] {
  return async ({ config, database, onEnd }) => {
    const outside = await outsideNotes(config, checkpoint);
    const pool = openReadPool(database);
    onEnd(() => pool.end());
    const snapshot = await openLogSnapshot(database);
    onEnd(() => snapshot.close());
    const progress = startProgress('records');
    onEnd(progress.end);
    const report = await fsck({
      snapshot,
      nodes: createTileReader(pool).nodes,
      outside,
      onProgress: progress.show,
      ...(key.length === 0 ? {} : { verifierKeys: key }),
    });
    progress.end();
    console.log(json ? JSON.stringify(report, null, 2) : asText(report));
    if (!report.ok) process.exitCode = exitCodeFaults;
  };
}

interface OutsideNote {
  readonly name: string;
  readonly note: string;
}

/** Those that are named, and the one that the gateway keeps in its data folder, when it is there. */
async function outsideNotes({ dataDir }: Config, files: readonly string[]): Promise<OutsideNote[]> {
  const kept = join(dataDir, 'log.checkpoint');
  const named = await Promise.all(files.map((file) => noteIn(file)));
  const notes = [...named, files.includes(kept) ? undefined : await noteIn(kept, true)];
  return notes.filter((note) => note !== undefined);
}

async function noteIn(file: string, mayBeAbsent = false): Promise<OutsideNote | undefined> {
  try {
    return { name: `The checkpoint in ${file}`, note: await readFile(file, 'utf8') };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (mayBeAbsent && code === 'ENOENT') return undefined;
    throw new UsageError(`${file} cannot be read (${code}).`);
  }
}

function asText(report: FsckReport): string {
  const { checked, faults, faultCount, firstSeq, openIntents } = report;
  const kept = firstSeq === 0 ? '' : ` (the first ${firstSeq} are pruned)`;
  const lines = [
    `${report.origin ?? 'a log without a name'}: ${report.size} records${kept}, root ${report.root}`,
    `checked ${checked.records} records, ${checked.tiles} tiles, ${checked.counters} counters, ${checked.erasable} erasable values, ${checked.checkpoints} checkpoints, ${checked.outsideCheckpoints} from outside`,
    ...faults.map(({ part, sentence }) => `FAULT ${part}: ${sentence}`),
    ...(faultCount > faults.length ? [`… and ${faultCount - faults.length} more faults`] : []),
    ...(openIntents.length === 0 ? [] : [`${openIntents.length} calls are open: their outcome is not recorded yet`]),
    ...(report.hasOutsideKeys || checked.outsideCheckpoints > 0
      ? []
      : ['note: nothing from outside the database was compared; --key and --checkpoint give what was kept elsewhere']),
    report.ok ? 'the log is sound' : `THE LOG IS NOT SOUND: ${faultCount} faults`,
  ];
  return lines.map(printable).join('\n');
}
