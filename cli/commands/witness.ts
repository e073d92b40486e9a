/** `talos witness`: cosigns the checkpoints of other people's logs, as long as each continues the one before. */
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { createWitness, type Witness } from '../../src/audit/witness.ts';
import { startWitnessServer } from '../../src/audit/witness-server.ts';
import { createWitnessState, openWitnessState } from '../../src/audit/witness-state.ts';
import { systemClock } from '../../src/core/clock.ts';
import { describeError, TalosError } from '../../src/core/errors.ts';
import { cosignature, formatVerifierKey, generateNoteKey, parseSignerKey } from '../../src/core/note-key.ts';
import { isConsistent } from '../../verifier/index.ts';
import { isReadableByOthers } from '../key-file.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const defaultPort = '8047';

interface ServeOptions {
  readonly dir?: string;
  readonly log: readonly string[];
  readonly host: string;
  readonly port: string;
}

interface CreateOptions {
  readonly name: string;
  readonly out: string;
}

/** What is in the folder of a witness. */
const filesIn = (folder: string) => ({ key: join(folder, 'witness.key'), state: join(folder, 'witness.state') });

export function witnessCommand(program: Command): void {
  const witness = program
    .command('witness')
    .description('Cosign the checkpoints of other logs (C2SP tlog-witness), until it is told to stop.')
    .option('--dir <folder>', 'the folder with its key, and with what it has cosigned')
    .option('--log <vkey>', 'the verifier key of a log to witness; may be repeated', collect, [])
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
    .option('--port <number>', 'the port to listen on; 0 lets the system choose', defaultPort);
  witness.action(reportingUsage(witness, serveWitness));
  const create = witness
    .command('create')
    .description('Make the key and the empty state of a new witness, and print its verifier key.')
    .requiredOption('--name <name>', 'its name, such as witness.example.com/w1')
    .requiredOption('--out <folder>', 'where to write both; losing them means to begin anew under another name');
  create.action(reportingUsage(create, createFiles));
}

function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}

async function createFiles({ name, out }: CreateOptions): Promise<void> {
  const { skey, vkey } = explaining(() => generateNoteKey(name, cosignature));
  const { key, state } = filesIn(out);
  await writeNew(out, async () => void (await mkdir(out, { recursive: true, mode: 0o700 })));
  await writeNew(key, () => writeFile(key, `${skey}\n`, { flag: 'wx', mode: 0o600, flush: true }));
  await writeNew(state, () => createWitnessState(state));
  console.log(vkey);
  console.error(
    `Give that line to whoever wants this witness. The key in ${out} is a secret; never copy the state back.`,
  );
}

async function writeNew(file: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : describeError(error);
    throw new UsageError(`${file} cannot be written (${code}); it is never overwritten.`);
  }
}

async function serveWitness({ dir, log, host, port }: ServeOptions): Promise<void> {
  if (dir === undefined || log.length === 0) {
    throw new UsageError('A witness needs --dir, which `talos witness create` makes, and at least one --log.');
  }
  if (!/^\d{1,5}$/.test(port)) throw new UsageError('--port is not a port number.');
  const { witness, verifierKey } = await openWitness(filesIn(dir), log);
  const onFailure = (reason: string) => console.error(`a checkpoint could not be judged: ${reason}`);
  const server = await startWitnessServer({ witness, host, port: Number(port), onFailure }).catch((error: unknown) => {
    throw new UsageError(`${host}:${port} cannot be listened on: ${describeError(error)}.`);
  });
  console.log(`witness ${verifierKey} ${server.url}`);
  await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  await server.close();
}

async function openWitness(
  files: ReturnType<typeof filesIn>,
  logs: readonly string[],
): Promise<{ witness: Witness; verifierKey: string }> {
  const { name, privateKey } = await readWitnessKey(files.key);
  const state = await openWitnessState(files.state).catch((error: unknown) => {
    throw new UsageError(describeError(error));
  });
  const witness = explaining(() =>
    createWitness({
      name,
      privateKey,
      logs,
      state,
      clock: systemClock,
      // The judge is the verifier's, which is no code of the log.
      isConsistent: (old, next, proof) => isConsistent(plain(old), plain(next), proof.map(plainBytes)),
    }),
  );
  return { witness, verifierKey: formatVerifierKey(name, createPublicKey(privateKey), cosignature) };
}

async function readWitnessKey(file: string): Promise<ReturnType<typeof parseSignerKey>> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new UsageError(`The key ${file} cannot be read: ${describeError(error)}.`);
  });
  if (await isReadableByOthers(file)) console.error(`warning: ${file} is open to others: chmod 600 it.`);
  const key = explaining(() => parseSignerKey(text.trim()));
  if (key.type !== cosignature) throw new UsageError(`${file} holds the key of a log: a witness needs one of its own.`);
  return key;
}

function explaining<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof TalosError) throw new UsageError(error.message);
    throw error;
  }
}

function plain({ size, root }: { size: number; root: Buffer }): { size: number; root: Uint8Array<ArrayBuffer> } {
  return { size, root: plainBytes(root) };
}

/** A copy of its own, as the verifier demands. */
function plainBytes(bytes: Buffer): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes);
}
