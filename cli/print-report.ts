/** What a verification found, for people or as JSON. It is printed, and its exit code is set. */
import type { Report } from '../verifier/index.ts';
import { printable } from './printable.ts';

const exitCodeNotVerified = 1;
const labelChars = 16;

export function printReport(report: Report, isJson: boolean): void {
  console.log(isJson ? asJson(report) : asText(report));
  if (!report.ok) process.exitCode = exitCodeNotVerified;
}

// Hashes as base64, as they stand in checkpoints.
function asJson(report: Report): string {
  const plain = (_: string, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
  return JSON.stringify(report, plain, 2);
}

function asText({ ok, checks }: Report): string {
  const lines = checks.map(
    ({ name, ok: holds, detail }) => `${holds ? 'ok  ' : 'FAIL'} ${name.padEnd(labelChars)}${printable(detail)}`,
  );
  return [...lines, ok ? 'verified' : 'NOT VERIFIED'].join('\n');
}
