/** `talos approvals`: calls that a human has to approve, at a running gateway. */
import type { Command } from 'commander';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { type AtGateway, administration, atGateway, pathOf } from '../administration.ts';
import { printable } from '../printable.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const path = '/admin/v1/mcp/approvals';

interface ListOptions extends AtGateway {
  readonly state: string;
  readonly team?: string;
}

interface DecideOptions extends AtGateway {
  readonly reason?: string;
}

export function approvalsCommand(program: Command): void {
  const approvals = program
    .command('approvals')
    .description('Calls to approve at a running gateway; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const list = atGateway(approvals.command('list').description('List calls, the newest first.'))
    .option('--state <state>', 'pending, approved, denied, used or expired', 'pending')
    .option('--team <id>', 'those of one team');
  list.action(reportingUsage(list, listApprovals));

  const show = atGateway(approvals.command('show <id>').description('Show a call with its arguments.'));
  show.action(reportingUsage(show, showApproval));

  const approve = withReason(approvals.command('approve <id>').description('Let the call be made, once.'));
  approve.action(reportingUsage(approve, (id: string, options: DecideOptions) => decide('approve', id, options)));

  const deny = withReason(approvals.command('deny <id>').description('Refuse the call.'));
  deny.action(reportingUsage(deny, (id: string, options: DecideOptions) => decide('deny', id, options)));
}

function withReason(command: Command): Command {
  return atGateway(command).option('--reason <text>', 'why; it is recorded, and a denied caller is told');
}

async function listApprovals({ state, team, ...at }: ListOptions): Promise<void> {
  const query = new URLSearchParams({ state, ...(team === undefined ? {} : { team_id: team }) });
  const { approvals } = await administration(at).get(`${path}?${query}`);
  for (const approval of Array.isArray(approvals) ? approvals : []) console.log(describe(approval));
}

async function showApproval(id: string, options: AtGateway): Promise<void> {
  const { input, ...approval } = await administration(options).get(pathOf(path, id));
  console.log(describe(approval));
  const text = input === undefined ? 'The arguments are not kept any longer.' : JSON.stringify(input, undefined, 2);
  for (const line of text.split('\n')) console.log(printable(line));
}

async function decide(verb: 'approve' | 'deny', id: string, { reason, ...at }: DecideOptions): Promise<void> {
  const body = reason === undefined ? {} : { reason };
  console.log(describe(await administration(at).post(`${pathOf(path, id)}/${verb}`, body)));
}

function describe(value: unknown): string {
  if (!isJsonObject(value)) throw new UsageError('The gateway answered something that is no approval.');
  const { approval_id, state, server_id, tool_name, principal_id, team_id, expires_at, reason }: JsonObject = value;
  const words = [
    ...[
      approval_id,
      state,
      `${String(server_id)}/${String(tool_name)}`,
      `${String(principal_id)} of ${String(team_id)}`,
    ],
    `until ${String(expires_at)}`,
    ...(reason === undefined ? [] : [reason]),
  ];
  return printable(words.map(String).join('  '));
}
