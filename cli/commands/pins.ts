/** `talos pins`: the definitions of tools that a running gateway has pinned, and what to do about those that changed. */
import type { Command } from 'commander';
import type { JsonObject } from '../../src/core/json.ts';
import { type AtGateway, administration, atGateway } from '../administration.ts';
import { Collection } from '../collection.ts';
import { printable } from '../printable.ts';
import { reportingUsage } from '../usage-error.ts';

const pins = new Collection({ path: '/admin/v1/mcp/pins', noun: 'pin', wordsOf });

interface ListOptions extends AtGateway {
  readonly server?: string;
  readonly state?: string;
}

interface DecideOptions extends AtGateway {
  readonly hash: string;
}

export function pinsCommand(program: Command): void {
  const command = program
    .command('pins')
    .description('Pinned tools of a running gateway; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const list = atGateway(command.command('list').description('List the pins, and the tools that changed.'))
    .option('--server <id>', 'those of one server')
    .option('--state <state>', 'pinned, held or rejected');
  list.action(reportingUsage(list, listPins));

  const diff = atGateway(
    command.command('diff <server> <tool>').description('Show how a tool changed, with its hash.'),
  );
  diff.action(reportingUsage(diff, showDiff));

  const approve = withHash(command.command('approve <server> <tool>').description('Let the changed tool be used.'));
  approve.action(
    reportingUsage(approve, (server: string, tool: string, options: DecideOptions) =>
      decide('approve', server, tool, options),
    ),
  );

  const reject = withHash(command.command('reject <server> <tool>').description('Stay with the approved definition.'));
  reject.action(
    reportingUsage(reject, (server: string, tool: string, options: DecideOptions) =>
      decide('reject', server, tool, options),
    ),
  );

  const forget = atGateway(
    command
      .command('forget <server> [tool]')
      .description('Forget a pin, or all of a server: what is seen next is pinned.'),
  );
  forget.action(reportingUsage(forget, forgetPins));
}

function withHash(command: Command): Command {
  return atGateway(command).requiredOption('--hash <hash>', 'of the definition that you looked at, as diff shows it');
}

async function listPins({ server, state, ...at }: ListOptions): Promise<void> {
  const query = new URLSearchParams({
    ...(server === undefined ? {} : { server_id: server }),
    ...(state === undefined ? {} : { state }),
  });
  const { pins: found, total } = await administration(at).get(`${pins.pathOf()}?${query}`);
  const more = Number(total) - pins.printAll(found);
  if (more > 0) console.error(`${more} more are not shown: name a server.`);
}

async function showDiff(server: string, tool: string, options: AtGateway): Promise<void> {
  const pin = await administration(options).get(pins.pathOf(server, tool));
  const { definition, diff, held_hash: held } = pin;
  pins.print(pin);
  // What cannot be seen in it was spelled out by the gateway; nothing else of the tool's may move the cursor either.
  const text = typeof diff === 'string' ? diff : String(definition ?? 'The definition is not there.');
  for (const line of text.split('\n')) console.log(printable(line));
  // The name is the server's: in a command to copy it must be no command itself.
  if (held !== undefined && /^\w[\w.-]*$/.test(tool))
    console.log(`To let it be used: talos pins approve ${server} ${tool} --hash ${String(held)}`);
}

async function decide(
  verb: 'approve' | 'reject',
  server: string,
  tool: string,
  { hash, ...at }: DecideOptions,
): Promise<void> {
  const body = { definition_hash: hash };
  pins.print(await administration(at).post(pins.pathOf(server, tool, verb), body));
}

async function forgetPins(server: string, tool: string | undefined, options: AtGateway): Promise<void> {
  const names = tool === undefined ? [server] : [server, tool];
  const { forgotten } = await administration(options).delete(pins.pathOf(...names));
  console.error(`Forgotten: ${Number(forgotten)}.`);
}

function wordsOf(pin: JsonObject) {
  const { server_id: server, tool_name: tool, state, definition_hash: hash, held_hash: held } = pin;
  return [server, tool, state, hash, ...(held === undefined ? [] : [`→ ${held}`])];
}
