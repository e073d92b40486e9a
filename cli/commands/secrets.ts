/** `talos secrets`: puts, lists, deletes and rotates secrets of a running gateway. A value is read from standard input or a file, so that no process list and no shell history shows it. */
import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { systemClock } from '../../src/core/clock.ts';
import { envelopeKeyBytes } from '../../src/core/envelope.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { parseKeyRing } from '../../src/core/key-ring.ts';
import { administration, pathOf } from '../administration.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options {
  readonly url: string;
}

export function secretsCommand(program: Command): void {
  const secrets = program
    .command('secrets')
    .description(
      'Secrets of a running gateway. The token of an administrator is read from TALOS_TOKEN or AUTH_ADMIN_SECRET.',
    );
  addSet(secrets);
  addList(secrets);
  addDelete(secrets);
  addRotate(secrets);
}

const path = '/admin/v1/secrets';
const urlOption = ['--url <url>', 'where the gateway is', gatewayUrlDefault] as const;

function addSet(secrets: Command): void {
  const set = secrets
    .command('set')
    .description('Put a secret; its value is read from standard input, without the line end that closes it.')
    .argument('<name>', 'what it is called where it is referred to')
    .option('--file <file>', 'read the value from a file')
    .option(...urlOption);
  set.action(
    reportingUsage(set, async (name: string, options: Options & { readonly file?: string }) => {
      const given = options.file === undefined ? await readAll(process.stdin) : await readValue(options.file);
      const value = given.replace(/\r?\n$/, '');
      if (value === '') throw new UsageError('The value is empty.');
      await administration({ gateway: options.url }).post(path, { name, value });
      console.error(`The secret ${name} is set.`);
    }),
  );
}

async function readValue(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch {
    throw new UsageError(`${file} cannot be read.`);
  }
}

function addList(secrets: Command): void {
  const list = secrets
    .command('list')
    .description('Print the names of the secrets.')
    .option(...urlOption);
  list.action(
    reportingUsage(list, async (options: Options) => {
      const { secrets: found } = await administration({ gateway: options.url }).get(path);
      for (const secret of found as unknown as JsonObject[]) {
        console.log(`${secret['name']}\t${secret['provider']}\t${secret['kek_id'] ?? ''}\t${secret['updated_at']}`);
      }
    }),
  );
}

function addDelete(secrets: Command): void {
  const remove = secrets
    .command('delete')
    .description('Delete a secret.')
    .argument('<name>', 'what it is called')
    .option(...urlOption);
  remove.action(
    reportingUsage(remove, async (name: string, options: Options) => {
      await administration({ gateway: options.url }).delete(pathOf(path, name));
      console.error(`The secret ${name} is deleted.`);
    }),
  );
}

function addRotate(secrets: Command): void {
  const rotate = secrets
    .command('rotate')
    .description('Put every secret under the key in use, and wait until it is done.')
    .option('--new-key <file>', 'first make a new key in this file of keys, which the gateway reads')
    .option(...urlOption);
  rotate.action(
    reportingUsage(rotate, async (options: Options & { readonly newKey?: string }) => {
      if (options.newKey !== undefined) await addKey(options.newKey);
      const gateway = administration({ gateway: options.url });
      const { op_id: id } = await gateway.post(`${path}/rotate-all`, {});
      for (;;) {
        const state = await gateway.get(pathOf(path, 'rotation-status', String(id)));
        if (state['status'] !== 'RUNNING') return report(state);
        await delay(pollMs);
      }
    }),
  );
}

const pollMs = 200;

function report({ status, message }: JsonObject): void {
  console.error(String(message));
  if (status !== 'COMPLETED') throw new UsageError('The rotation failed; the log of the gateway says why.');
}

/** The file with a new key before the older ones, in one step: a crash leaves the old file or the new one. */
async function addKey(file: string): Promise<void> {
  const older = await readValue(file);
  const key = `k${new Date(systemClock.now()).toISOString().replaceAll(/\D/g, '')}:${randomBytes(envelopeKeyBytes).toString('base64url')}\n`;
  parseKeyRing(key + older, file);
  await writeFile(`${file}.new`, key + older, { flag: 'wx', mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
}
