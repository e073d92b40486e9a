/**
 * Keys that live in a key service: a program that the operator names prints the signer key, so that it is never on our
 * disk. It is run without a shell, for a bounded time and with a bounded output.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';

/**
 * What the program printed. It has the gateway's environment, where key services look for their credentials, and its
 * error stream is ours. Throws an `Error` with one sentence, which holds nothing of what was printed.
 */
export async function runKeyCommand(
  command: readonly string[],
  timeoutMs: number = bounds.logKeyCommandTimeoutMs,
): Promise<string> {
  const [program = '', ...args] = command;
  const refuse = (reason: string) => new Error(`The log key command ${program} ${reason}.`);
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const chunks: Buffer[] = [];
  let bytes = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bounds.logKeyBytesMax) child.kill('SIGKILL');
    else chunks.push(chunk);
  });
  const [code, signal] = await closed(child).catch((error: unknown) => {
    throw refuse(`cannot be run: ${describeError(error)}`);
  });
  if (bytes > bounds.logKeyBytesMax) throw refuse(`printed more than ${bounds.logKeyBytesMax} bytes`);
  if (signal !== null) throw refuse(`was ended by ${signal}, or did not answer within ${timeoutMs} ms`);
  if (code !== 0) throw refuse(`failed with exit code ${code}`);
  return Buffer.concat(chunks).toString('utf8');
}

async function closed(child: ReturnType<typeof spawn>): Promise<[number | null, NodeJS.Signals | null]> {
  return (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
}
