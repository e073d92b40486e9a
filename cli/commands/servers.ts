/** `talos servers`: the tool servers of a running gateway. Credentials are given by the names of secrets (`talos secrets`). */
import type { Command } from 'commander';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';
import { secretReference } from '../../src/core/secret-reference.ts';
import { type AtGateway, administration, atGateway } from '../administration.ts';
import { Collection, type Fields } from '../collection.ts';
import { printable } from '../printable.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const servers = new Collection({ path: '/admin/v1/mcp/servers', noun: 'server', wordsOf });

interface FieldOptions extends AtGateway {
  readonly name?: string;
  readonly url?: string;
  readonly transport?: string;
  readonly header?: readonly string[];
  readonly auth?: string;
  readonly env?: readonly string[];
  readonly command?: string;
  readonly arg?: readonly string[];
  readonly cwd?: string;
  readonly timeout?: string;
  readonly rateLimit?: string;
  readonly tag?: readonly string[];
  readonly pins?: string;
  readonly allowPrivate?: boolean;
}

export function serversCommand(program: Command): void {
  const command = program
    .command('servers')
    .description('Tool servers of a running gateway; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const list = atGateway(command.command('list').description('List the servers and how they are.'));
  list.action(reportingUsage(list, listServers));

  const add = withFields(command.command('add <id>').description('Add a server, on every gateway within a second.'));
  add.action(
    reportingUsage(add, (id: string, options: FieldOptions) => servers.add({ id, ...fieldsOf(options) }, options)),
  );

  const change = withFields(command.command('change <id>').description('Replace what the options name.'));
  change.action(
    reportingUsage(change, (id: string, options: FieldOptions) => servers.change(id, fieldsOf(options), options)),
  );

  const disable = atGateway(command.command('disable <id>').description('Leave a server out; it can come back.'));
  disable.action(reportingUsage(disable, (id: string, at: AtGateway) => servers.change(id, { enabled: false }, at)));

  const enable = atGateway(command.command('enable <id>').description('Use a server again.'));
  enable.action(reportingUsage(enable, (id: string, at: AtGateway) => servers.change(id, { enabled: true }, at)));

  const remove = atGateway(
    command.command('remove <id>').description('Remove a server; calls in flight are finished.'),
  );
  remove.action(reportingUsage(remove, (id: string, options: AtGateway) => servers.remove(id, options)));

  const test = atGateway(command.command('test <id>').description('Connect to a server and list its tools.'));
  test.action(reportingUsage(test, testServer));
}

function withFields(command: Command): Command {
  return atGateway(command)
    .option('--name <name>', 'what people call it')
    .option('--url <url>', 'its address')
    .option('--transport <transport>', 'auto, http, sse, jsonrpc or stdio')
    .option('--header <header...>', `'Name: text', where the text refers to a secret as ${secretReference('name')}`)
    .option('--auth <json>', 'how the gateway gets the token that it sends, as JSON: see docs/tool-servers.md')
    .option('--command <program>', 'a program to start, where the gateway allows that')
    .option('--arg <argument...>', 'its arguments')
    .option('--env <variable...>', `'NAME=text', where the text refers to a secret as ${secretReference('name')}`)
    .option('--cwd <folder>', 'its working directory')
    .option('--timeout <duration>', 'how long a call may take: 90s, 5m')
    .option('--rate-limit <rate>', 'how often one caller may call, such as 100/hour')
    .option('--pins <mode>', 'enforce: changed tools wait for an approval; record: they are only recorded')
    .option('--tag <tag...>', 'words to group servers by')
    .option('--allow-private', 'let private and loopback addresses be dialled')
    .option('--no-allow-private', 'dial public addresses alone');
}

function fieldsOf(options: FieldOptions): Fields {
  const { name, url, transport, header, auth, env, command, arg, cwd, timeout, rateLimit, pins, tag, allowPrivate } =
    options;
  return {
    ...{ name, url, transport, command, cwd, args: arg, call_timeout: timeout, rate_limit: rateLimit, pins, tags: tag },
    headers: header && pairs('--header', header, ':'),
    auth: auth && jsonMap('--auth', auth),
    env: env && pairs('--env', env, '='),
    allow_private: allowPrivate,
  };
}

function pairs(option: string, texts: readonly string[], separator: string): JsonObject {
  const entries = texts.map((text) => {
    const at = text.indexOf(separator);
    if (at < 1) throw new UsageError(`${option} takes a name, '${separator}' and a text that refers to a secret.`);
    return [text.slice(0, at), text.slice(at + 1).trim()];
  });
  return Object.fromEntries(entries) as JsonObject;
}

function jsonMap(option: string, text: string): JsonObject {
  try {
    const value = JSON.parse(text) as JsonValue;
    if (isJsonObject(value)) return value;
  } catch {
    // Then it is no map either.
  }
  throw new UsageError(`${option} takes a JSON object.`);
}

async function listServers(at: AtGateway): Promise<void> {
  const { servers: found } = await administration(at).get(servers.pathOf());
  servers.printAll(found);
}

async function testServer(id: string, at: AtGateway): Promise<void> {
  const { ok, tools, step, error } = await administration(at).post(`${servers.pathOf(id)}:test`, {});
  if (ok === true) {
    for (const tool of Array.isArray(tools) ? tools : []) console.log(printable(String(tool)));
    return;
  }
  const { code, message } = isJsonObject(error) ? error : {};
  throw new UsageError(`It does not work (${String(step)}): ${printable(String(message))} (${String(code)})`);
}

function wordsOf({ id, source, enabled, health, url, command, problems }: JsonObject) {
  const state = isJsonObject(health) ? String(health['state']) : 'unused';
  const why = Array.isArray(problems) ? problems.join(' ') : '';
  return [id, source, enabled === true ? state : 'disabled', url ?? command ?? '', why].filter((word) => word !== '');
}
