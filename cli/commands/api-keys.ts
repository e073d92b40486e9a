/** `talos api-keys`: keys of a running gateway. A new key is all that goes to stdout, so that it can be piped. */
import type { Command } from 'commander';
import { parseDuration } from '../../src/core/duration.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { administration } from '../administration.ts';
import { Collection } from '../collection.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const keys = new Collection({ path: '/admin/v1/api-keys', noun: 'key', wordsOf });

interface CreateOptions {
  readonly url: string;
  readonly name: string;
  readonly principal?: string;
  readonly team?: string;
  readonly permission?: readonly string[];
  readonly ttl?: string;
}

interface KeyOptions {
  readonly url: string;
  readonly grace?: string;
}

export function apiKeysCommand(program: Command): void {
  const command = program
    .command('api-keys')
    .description('Make, list, replace and revoke API keys; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const create = atGateway(command.command('create').description('Make a key and print it: it is shown only now.'))
    .requiredOption('--name <name>', 'what people call it')
    .option('--principal <id>', 'in whose name it speaks; its own when absent')
    .option('--team <id>', 'the team of that principal')
    .option('--permission <permission...>', 'what it may do, such as events:read; may be repeated')
    .option('--ttl <duration>', 'how long it counts: 90s, 15m, 1h, 7d; without end when absent');
  create.action(reportingUsage(create, createKey));

  const list = atGateway(command.command('list').description('List the keys, newest first.'));
  list.action(reportingUsage(list, listKeys));

  const rotate = atGateway(
    command.command('rotate <id>').description('Make a key in the place of one and print it.'),
  ).option('--grace <duration>', 'how long the old key still counts', '0s');
  rotate.action(reportingUsage(rotate, rotateKey));

  const revoke = atGateway(command.command('revoke <id>').description('Revoke a key, everywhere within a second.'));
  revoke.action(reportingUsage(revoke, revokeKey));
}

function atGateway(command: Command): Command {
  return command.option('--url <url>', 'where the gateway is', gatewayUrlDefault);
}

async function createKey({ url, name, principal, team, permission, ttl }: CreateOptions): Promise<void> {
  const body = {
    name,
    ...(principal === undefined ? {} : { principal_id: principal }),
    ...(team === undefined ? {} : { team_id: team }),
    ...(permission === undefined ? {} : { permissions: permission }),
    ...(ttl === undefined ? {} : { expires_in_seconds: seconds('--ttl', ttl) }),
  };
  printIssued(await administration({ gateway: url }).post(keys.pathOf(), body));
}

async function rotateKey(id: string, { url, grace = '0s' }: KeyOptions): Promise<void> {
  const body = { grace_seconds: seconds('--grace', grace) };
  printIssued(await administration({ gateway: url }).post(keys.pathOf(id, 'rotate'), body));
}

async function revokeKey(id: string, { url }: KeyOptions): Promise<void> {
  const { key } = await administration({ gateway: url }).delete(keys.pathOf(id));
  console.log(`Revoked ${keys.lineOf(key)}.`);
}

async function listKeys({ url }: KeyOptions): Promise<void> {
  const { api_keys: found, total } = await administration({ gateway: url }).get(keys.pathOf());
  const more = Number(total) - keys.printAll(found);
  if (more > 0) console.error(`${more} more are not shown.`);
}

function printIssued({ api_key: secret, key }: JsonObject): void {
  console.log(String(secret));
  console.error(`Made ${keys.lineOf(key)}. Keep the key: nobody can show it again.`);
}

function wordsOf({ id, hint, status, principal_id: principal, team_id: team, name, ...times }: JsonObject) {
  return [id, `${hint}…`, standing(status, times), `${principal} of ${team}`, name];
}

/** A revocation has no end, so what is revoked says since when, and nothing of when it would have expired. */
function standing(status: JsonValue | undefined, { expires_at: end, revoked_at: revoked }: JsonObject): string {
  if (status === 'revoked') return revoked === undefined ? 'revoked' : `revoked since ${revoked}`;
  if (end === undefined) return String(status);
  return `${status} ${status === 'expired' ? 'since' : 'until'} ${end}`;
}

function seconds(option: string, text: string): number {
  const parsed = text === '0s' ? 0 : parseDuration(text);
  if (parsed === undefined) throw new UsageError(`${option} ${text} is not a duration; write 90s, 15m, 1h or 7d.`);
  return parsed;
}
