/** `talos api-keys`: keys of a running gateway. A new key is all that goes to stdout, so that it can be piped. */
import type { Command } from 'commander';
import { readEnvironment } from '../../src/config/env.ts';
import { parseDuration } from '../../src/core/duration.ts';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { type GatewayAnswer, gatewayClient } from '../gateway-client.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const urlDefault = 'http://127.0.0.1:8000';
const path = '/admin/v1/api-keys';

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
  const keys = program
    .command('api-keys')
    .description('Make, list, replace and revoke API keys; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const create = atGateway(keys.command('create').description('Make a key and print it: it is shown only now.'))
    .requiredOption('--name <name>', 'what people call it')
    .option('--principal <id>', 'in whose name it speaks; its own when absent')
    .option('--team <id>', 'the team of that principal')
    .option('--permission <permission...>', 'what it may do, such as events:read; may be repeated')
    .option('--ttl <duration>', 'how long it counts: 90s, 15m, 1h, 7d; without end when absent');
  create.action(reportingUsage(create, createKey));

  const list = atGateway(keys.command('list').description('List the keys, newest first.'));
  list.action(reportingUsage(list, listKeys));

  const rotate = atGateway(
    keys.command('rotate <id>').description('Make a key in the place of one and print it.'),
  ).option('--grace <duration>', 'how long the old key still counts', '0s');
  rotate.action(reportingUsage(rotate, rotateKey));

  const revoke = atGateway(keys.command('revoke <id>').description('Revoke a key, everywhere within a second.'));
  revoke.action(reportingUsage(revoke, revokeKey));
}

function atGateway(command: Command): Command {
  return command.option('--url <url>', 'where the gateway is', urlDefault);
}

async function createKey({ url, name, principal, team, permission, ttl }: CreateOptions): Promise<void> {
  const body = {
    name,
    ...(principal === undefined ? {} : { principal_id: principal }),
    ...(team === undefined ? {} : { team_id: team }),
    ...(permission === undefined ? {} : { permissions: permission }),
    ...(ttl === undefined ? {} : { expires_in_seconds: seconds('--ttl', ttl) }),
  };
  printIssued(await gatewayClient(url).post(path, credential(), body));
}

async function rotateKey(id: string, { url, grace = '0s' }: KeyOptions): Promise<void> {
  const body = { grace_seconds: seconds('--grace', grace) };
  printIssued(await gatewayClient(url).post(`${path}/${encodeURIComponent(id)}/rotate`, credential(), body));
}

async function revokeKey(id: string, { url }: KeyOptions): Promise<void> {
  const { body } = good(await gatewayClient(url).delete(`${path}/${encodeURIComponent(id)}`, credential()));
  console.log(`Revoked ${describe(body['key'])}.`);
}

async function listKeys({ url }: KeyOptions): Promise<void> {
  const { body } = good(await gatewayClient(url).get(path, credential()));
  const keys = Array.isArray(body['api_keys']) ? body['api_keys'] : [];
  for (const key of keys) console.log(describe(key));
  if (Number(body['total']) > keys.length) console.error(`${Number(body['total']) - keys.length} more are not shown.`);
}

function printIssued(answer: GatewayAnswer): void {
  const { body } = good(answer);
  console.log(String(body['api_key']));
  console.error(`Made ${describe(body['key'])}. Keep the key: nobody can show it again.`);
}

function describe(value: unknown): string {
  if (!isJsonObject(value)) throw new UsageError('The gateway answered something that is no key.');
  const { id, hint, status, principal_id: principal, team_id: team, name, expires_at: end } = value;
  const until = end === undefined ? '' : ` until ${String(end)}`;
  return `${String(id)}  ${String(hint)}…  ${String(status)}${until}  ${String(principal)} of ${String(team)}  ${String(name)}`;
}

function good(answer: GatewayAnswer): GatewayAnswer {
  if (answer.status < 400) return answer;
  throw new UsageError(`The gateway refuses: ${sentence(answer.body)}`);
}

function sentence({ code, message }: JsonObject): string {
  return `${String(message)} (${String(code)})`;
}

function seconds(option: string, text: string): number {
  const parsed = text === '0s' ? 0 : parseDuration(text);
  if (parsed === undefined) throw new UsageError(`${option} ${text} is not a duration; write 90s, 15m, 1h or 7d.`);
  return parsed;
}

/** Never an option: what is on a command line is seen by everybody on the machine. */
function credential(): string {
  const env = readEnvironment();
  const token = env['TALOS_TOKEN'] ?? env['AUTH_ADMIN_SECRET'] ?? env['AUTH_SECRET'];
  if (token !== undefined && token !== '') return token;
  throw new UsageError('Set TALOS_TOKEN or AUTH_ADMIN_SECRET to what the administration routes accept.');
}
