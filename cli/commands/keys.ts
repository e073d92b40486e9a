/** `talos keys`: makes and shows the keys that sign capabilities. */
import { createPublicKey } from 'node:crypto';
import type { Command } from 'commander';
import { didKeyFromPublicKey, didTalosFromPublicKey } from '../../src/core/did.ts';
import { createKeyFile, readKeyFile } from '../key-file.ts';
import { reportingUsage } from '../usage-error.ts';

export function keysCommand(program: Command): void {
  const keys = program.command('keys').description('Make and show the keys that sign capabilities.');
  addCreate(keys);
  addShow(keys);
}

function addCreate(keys: Command): void {
  const create = keys
    .command('create')
    .description('Make an Ed25519 key in a new file that only you can read, and print its DID.')
    .requiredOption('--out <file>', 'where to write the private key (PKCS#8 PEM)');
  create.action(reportingUsage(create, (options: { out: string }) => createKey(options.out)));
}

async function createKey(path: string): Promise<void> {
  const publicKey = await createKeyFile(path);
  console.log(didKeyFromPublicKey(publicKey));
  console.error(`The private key is in ${path}. To let a gateway trust it, add the DID to TALOS_TRUSTED_ISSUERS.`);
}

function addShow(keys: Command): void {
  const show = keys
    .command('show')
    .description('Print the DIDs of a key; both name the same key.')
    .argument('<file>', 'the private key (PKCS#8 PEM)');
  show.action(reportingUsage(show, showKey));
}

async function showKey(path: string): Promise<void> {
  const publicKey = createPublicKey(await readKeyFile(path));
  console.log(didKeyFromPublicKey(publicKey));
  console.log(didTalosFromPublicKey(publicKey));
}
