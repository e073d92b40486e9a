/** `talos policies`: what teams may use of the tool servers of a running gateway, and what of it a human has to approve. */
import type { Command } from 'commander';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';
import { type AtGateway, administration, atGateway, pathOf } from '../administration.ts';
import { printable } from '../printable.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const path = '/admin/v1/mcp/policies';

interface FieldOptions extends AtGateway {
  readonly team?: string;
  readonly server?: readonly string[];
  readonly tool?: readonly string[];
  readonly approve?: readonly string[];
  readonly denyByDefault?: boolean;
}

export function policiesCommand(program: Command): void {
  const policies = program
    .command('policies')
    .description('Policies of teams at a running gateway; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const list = atGateway(policies.command('list').description('List the policies.')).option(
    '--team <id>',
    'those of one team',
  );
  list.action(reportingUsage(list, listPolicies));

  const add = withFields(policies.command('add [id]').description('Add a policy, on every gateway within a second.'));
  add.action(reportingUsage(add, addPolicy));

  const change = withFields(policies.command('change <id>').description('Replace what the options name.'));
  change.action(reportingUsage(change, changePolicy));

  const remove = atGateway(policies.command('remove <id>').description('Remove a policy.'));
  remove.action(reportingUsage(remove, removePolicy));
}

function withFields(command: Command): Command {
  return atGateway(command)
    .option('--team <id>', 'the team, or * for every team')
    .option('--server <id...>', 'servers that may be used')
    .option('--tool <server/tool...>', 'tools that may be called, such as git/read_*')
    .option('--approve <server/tool...>', 'tools whose calls a human has to approve, such as bank/pay_*')
    .option('--deny-by-default', 'refuse servers that nothing names, where tools are listed')
    .option('--no-deny-by-default', 'allow them');
}

function fieldsOf({ team, server, tool, approve, denyByDefault }: FieldOptions): JsonObject {
  const fields: Record<string, JsonValue | undefined> = {
    team_id: team,
    allowed_servers: server,
    allowed_tools: tool && patterns('--tool', tool),
    require_approval: approve && patterns('--approve', approve),
    deny_by_default: denyByDefault,
  };
  return Object.fromEntries(Object.entries(fields).filter((entry) => entry[1] !== undefined)) as JsonObject;
}

function patterns(option: string, texts: readonly string[]): JsonObject {
  const pairs = texts.map((text) => {
    const at = text.indexOf('/');
    if (at < 1) throw new UsageError(`${option} takes a server, '/' and a tool, such as git/read_*.`);
    return [text.slice(0, at), text.slice(at + 1)] as const;
  });
  const byServer = Map.groupBy(pairs, ([server]) => server);
  return Object.fromEntries([...byServer].map(([server, tools]) => [server, tools.map(([, tool]) => tool)]));
}

async function listPolicies({ team, ...at }: FieldOptions): Promise<void> {
  const query = new URLSearchParams(team === undefined ? {} : { team_id: team });
  const { policies } = await administration(at).get(`${path}?${query}`);
  for (const policy of Array.isArray(policies) ? policies : []) console.log(describe(policy));
}

async function addPolicy(id: string | undefined, options: FieldOptions): Promise<void> {
  if (options.team === undefined) throw new UsageError('Say for which team: --team.');
  const body = { ...(id === undefined ? {} : { id }), ...fieldsOf(options) };
  console.log(describe(await administration(options).post(path, body)));
}

async function changePolicy(id: string, options: FieldOptions): Promise<void> {
  const fields = fieldsOf(options);
  if (Object.keys(fields).length === 0) throw new UsageError('Say what to change.');
  console.log(describe(await administration(options).patch(pathOf(path, id), fields)));
}

async function removePolicy(id: string, options: AtGateway): Promise<void> {
  await administration(options).delete(pathOf(path, id));
  console.error(`The policy ${id} is removed.`);
}

function describe(value: unknown): string {
  if (!isJsonObject(value)) throw new UsageError('The gateway answered something that is no policy.');
  const { id, team_id, allowed_servers, allowed_tools, require_approval, deny_by_default } = value;
  const servers = Array.isArray(allowed_servers) && allowed_servers.length > 0 ? allowed_servers.join(',') : 'all';
  const words = [
    ...[id, team_id, `servers ${servers}`, `tools ${JSON.stringify(allowed_tools)}`],
    `approval ${JSON.stringify(require_approval)}`,
    deny_by_default === true ? 'deny by default' : 'allow by default',
  ];
  return printable(words.map(String).join('  '));
}
