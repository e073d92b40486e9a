/** `--key`, `--policy` and `--quorum`: whom the verifying commands believe. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Refusal, type Trust, type TrustSource, trust } from '../verifier/index.ts';
import { UsageError } from './usage-error.ts';

export interface TrustOptions {
  readonly key: readonly string[];
  readonly policy?: string;
  readonly quorum?: string;
}

export function trustOptions(command: Command): Command {
  return command
    .option('--key <vkey>', 'a verifier key of the log or of a witness; may be repeated', collect, [])
    .option('--policy <file>', 'the keys and the quorum of witnesses as a C2SP tlog-policy, in place of --key')
    .option('--quorum <count>', 'how many of the witnesses given by --key must have cosigned (default: all)');
}

function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}

/** Throws `UsageError` for what cannot be used. */
export async function trustOf(options: TrustOptions): Promise<Trust> {
  const source = await trustSource(options);
  try {
    return await trust(source);
  } catch (error) {
    if (error instanceof Refusal) throw new UsageError(error.message);
    throw error;
  }
}

async function trustSource({ key, policy, quorum }: TrustOptions): Promise<TrustSource> {
  if (policy !== undefined) {
    if (key.length > 0 || quorum !== undefined) throw new UsageError('Give either --policy, or --key and --quorum.');
    return { policy: await explaining(policy, readFile(policy, 'utf8')) };
  }
  if (key.length === 0) throw new UsageError('Whom shall it believe? Give the log’s verifier key with --key.');
  if (quorum === undefined) return { vkeys: key };
  if (!/^[0-9]{1,3}$/.test(quorum)) throw new UsageError('--quorum is not a count of witnesses.');
  return { vkeys: key, quorum: Number(quorum) };
}

/** Turns what the file system refuses into a sentence. */
export async function explaining<T>(file: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error && 'code' in error)) throw error;
    throw new UsageError(`${file} cannot be read (${String(error.code)}).`);
  }
}
