/** `talos verify`: checks receipts, exports and running logs, believing nothing but the keys that it is given. */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { linesOf, type Report, type Trust, verifyExport, verifyReceipt } from '../../verifier/index.ts';
import { printReport } from '../print-report.ts';
import { explaining, type TrustOptions, trustOf, trustOptions } from '../trust-options.ts';
import { reportingUsage } from '../usage-error.ts';
import { verifyLogCommand } from './verify-log.ts';

interface Options extends TrustOptions {
  readonly json?: true;
}

export function verifyCommand(program: Command): void {
  const verify = program
    .command('verify')
    .description(
      'Check what a gateway has logged: receipts and exports offline, a running log since last time. Exits with 0 when it holds and 1 when it does not.',
    );
  add(verify, 'receipt', 'Check that a record is in the log (talos.receipt/v1 or .tlog-proof).', verifyReceiptFile);
  add(
    verify,
    'export',
    'Check that an export is what was logged, whole and unchanged (talos.export/v1).',
    verifyExportFile,
  );
  verifyLogCommand(verify);
}

function add(
  verify: Command,
  name: string,
  description: string,
  judge: (file: string, trust: Trust) => Promise<Report>,
): void {
  const command = trustOptions(
    verify.command(name).description(description).argument('<file>', 'the file, or - to read it from standard input'),
  ).option('--json', 'answer as JSON');
  command.action(
    reportingUsage(command, async (file: string, options: Options) => {
      printReport(await judge(file, await trustOf(options)), options.json === true);
    }),
  );
}

async function verifyReceiptFile(file: string, trusted: Trust): Promise<Report> {
  const input = file === '-' ? readAll(process.stdin) : readFile(file, 'utf8');
  return await verifyReceipt(await explaining(file, input), trusted);
}

async function verifyExportFile(file: string, trusted: Trust): Promise<Report> {
  const stream = file === '-' ? process.stdin : createReadStream(file);
  return await explaining(file, verifyExport(linesOf(stream), trusted));
}
