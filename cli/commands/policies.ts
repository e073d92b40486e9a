/** `talos policies`: what teams may use of the tool servers of a running gateway, and what of it a human has to approve. */
import type { Command } from 'commander';
import type { JsonObject } from '../../src/core/json.ts';
import { type AtGateway, administration, atGateway } from '../administration.ts';
import { Collection, type Fields } from '../collection.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const policies = new Collection({ path: '/admin/v1/mcp/policies', noun: 'policy', wordsOf });

interface FieldOptions extends AtGateway {
  readonly team?: string;
  readonly server?: readonly string[];
  readonly tool?: readonly string[];
  readonly approve?: readonly string[];
  readonly denyByDefault?: boolean;
}

export function policiesCommand(program: Command): void {
  const command = program
    .command('policies')
    .description('Policies of teams at a running gateway; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const list = atGateway(command.command('list').description('List the policies.')).option(
    '--team <id>',
    'those of one team',
  );
  list.action(reportingUsage(list, listPolicies));

  const add = withFields(command.command('add [id]').description('Add a policy, on every gateway within a second.'));
  add.action(reportingUsage(add, addPolicy));

  const change = withFields(command.command('change <id>').description('Replace what the options name.'));
  change.action(
    reportingUsage(change, (id: string, options: FieldOptions) => policies.change(id, fieldsOf(options), options)),
  );

  const remove = atGateway(command.command('remove <id>').description('Remove a policy.'));
  remove.action(reportingUsage(remove, (id: string, options: AtGateway) => policies.remove(id, options)));
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

function fieldsOf({ team, server, tool, approve, denyByDefault }: FieldOptions): Fields {
  return {
    team_id: team,
    allowed_servers: server,
    allowed_tools: tool && patterns('--tool', tool),
    require_approval: approve && patterns('--approve', approve),
    deny_by_default: denyByDefault,
  };
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
  const { policies: found } = await administration(at).get(`${policies.pathOf()}?${query}`);
  policies.printAll(found);
}

async function addPolicy(id: string | undefined, options: FieldOptions): Promise<void> {
  if (options.team === undefined) throw new UsageError('Say for which team: --team.');
  await policies.add({ id, ...fieldsOf(options) }, options);
}

function wordsOf({ id, team_id, allowed_servers, allowed_tools, require_approval, deny_by_default }: JsonObject) {
  const servers = Array.isArray(allowed_servers) && allowed_servers.length > 0 ? allowed_servers.join(',') : 'all';
  return [
    ...[id, team_id, `servers ${servers}`, `tools ${JSON.stringify(allowed_tools)}`],
    `approval ${JSON.stringify(require_approval)}`,
    deny_by_default === true ? 'deny by default' : 'allow by default',
  ];
}
