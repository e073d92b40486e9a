/** `talos verify`: checks receipts and exports offline, believing nothing but the keys that it is given. */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import {
  linesOf,
  Refusal,
  type Report,
  type Trust,
  type TrustSource,
  trust,
  verifyExport,
  verifyReceipt,
} from '../../verifier/index.ts';
import { printable } from '../printable.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options {
  readonly key: readonly string[];
  readonly policy?: string;
  readonly quorum?: string;
  readonly json?: true;
}

const exitCodeNotVerified = 1;

export function verifyCommand(program: Command): void {
  const verify = program
    .command('verify')
    .description('Check what a gateway has logged, offline. Exits with 0 when it holds and 1 when it does not.');
  add(verify, 'receipt', 'Check that a record is in the log (talos.receipt/v1 or .tlog-proof).', verifyReceiptFile);
  add(
    verify,
    'export',
    'Check that an export is what was logged, whole and unchanged (talos.export/v1).',
    verifyExportFile,
  );
}

function add(
  verify: Command,
  name: string,
  description: string,
  judge: (file: string, trust: Trust) => Promise<Report>,
): void {
  const command = verify
    .command(name)
    .description(description)
    .argument('<file>', 'the file, or - to read it from standard input')
    .option('--key <vkey>', 'a verifier key of the log or of a witness; may be repeated', collect, [])
    .option('--policy <file>', 'the keys and the quorum of witnesses as a C2SP tlog-policy, in place of --key')
    .option('--quorum <count>', 'how many of the witnesses given by --key must have cosigned (default: all)')
    .option('--json', 'answer as JSON');
  command.action(
    reportingUsage(command, async (file: string, options: Options) => {
      const report = await judge(file, await trustOf(options));
      console.log(options.json ? asJson(report) : asText(report));
      if (!report.ok) process.exitCode = exitCodeNotVerified;
    }),
  );
}

function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}

async function trustOf(options: Options): Promise<Trust> {
  const source = await trustSource(options);
  try {
    return await trust(source);
  } catch (error) {
    if (error instanceof Refusal) throw new UsageError(error.message);
    throw error;
  }
}

async function trustSource({ key, policy, quorum }: Options): Promise<TrustSource> {
  if (policy !== undefined) {
    if (key.length > 0 || quorum !== undefined) throw new UsageError('Give either --policy, or --key and --quorum.');
    return { policy: await explaining(policy, readFile(policy, 'utf8')) };
  }
  if (key.length === 0) throw new UsageError('Whom shall it believe? Give the log’s verifier key with --key.');
  if (quorum === undefined) return { vkeys: key };
  if (!/^[0-9]{1,3}$/.test(quorum)) throw new UsageError('--quorum is not a count of witnesses.');
  return { vkeys: key, quorum: Number(quorum) };
}

async function verifyReceiptFile(file: string, trusted: Trust): Promise<Report> {
  const input = file === '-' ? readAll(process.stdin) : readFile(file, 'utf8');
  return await verifyReceipt(await explaining(file, input), trusted);
}

async function verifyExportFile(file: string, trusted: Trust): Promise<Report> {
  const stream = file === '-' ? process.stdin : createReadStream(file);
  return await explaining(file, verifyExport(linesOf(stream), trusted));
}

/** Turns what the file system refuses into a sentence. */
async function explaining<T>(file: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error && 'code' in error)) throw error;
    throw new UsageError(`${file} cannot be read (${String(error.code)}).`);
  }
}

// Hashes as base64, as they stand in checkpoints.
function asJson(report: Report): string {
  const plain = (_: string, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
  return JSON.stringify(report, plain, 2);
}

const labelChars = 16;

function asText({ ok, checks }: Report): string {
  const lines = checks.map(
    ({ name, ok: holds, detail }) => `${holds ? 'ok  ' : 'FAIL'} ${name.padEnd(labelChars)}${printable(detail)}`,
  );
  return [...lines, ok ? 'verified' : 'NOT VERIFIED'].join('\n');
}
