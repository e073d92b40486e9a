/** `talos approvals`: calls that a human has to approve, at a running gateway. */
import type { Command } from 'commander';
import type { JsonObject } from '../../src/core/json.ts';
import { type AtGateway, administration, atGateway } from '../administration.ts';
import { Collection } from '../collection.ts';
import { printable } from '../printable.ts';
import { reportingUsage } from '../usage-error.ts';

const approvals = new Collection({ path: '/admin/v1/mcp/approvals', noun: 'approval', wordsOf });

interface ListOptions extends AtGateway {
  readonly state: string;
  readonly team?: string;
}

interface DecideOptions extends AtGateway {
  readonly reason?: string;
}

export function approvalsCommand(program: Command): void {
  const command = program
    .command('approvals')
    .description('Calls to approve at a running gateway; the credential is TALOS_TOKEN or AUTH_ADMIN_SECRET.');

  const list = atGateway(command.command('list').description('List calls, the newest first.'))
    .option('--state <state>', 'pending, approved, denied, used or expired', 'pending')
    .option('--team <id>', 'those of one team');
  list.action(reportingUsage(list, listApprovals));

  const show = atGateway(command.command('show <id>').description('Show a call with its arguments.'));
  show.action(reportingUsage(show, showApproval));

  const approve = withReason(command.command('approve <id>').description('Let the call be made, once.'));
  approve.action(reportingUsage(approve, (id: string, options: DecideOptions) => decide('approve', id, options)));

  const deny = withReason(command.command('deny <id>').description('Refuse the call.'));
  deny.action(reportingUsage(deny, (id: string, options: DecideOptions) => decide('deny', id, options)));
}

function withReason(command: Command): Command {
  return atGateway(command).option('--reason <text>', 'why; it is recorded, and a denied caller is told');
}

async function listApprovals({ state, team, ...at }: ListOptions): Promise<void> {
  const query = new URLSearchParams({ state, ...(team === undefined ? {} : { team_id: team }) });
  const { approvals: found } = await administration(at).get(`${approvals.pathOf()}?${query}`);
  approvals.printAll(found);
}

async function showApproval(id: string, options: AtGateway): Promise<void> {
  const { input, ...approval } = await administration(options).get(approvals.pathOf(id));
  approvals.print(approval);
  const text = input === undefined ? 'The arguments are not kept any longer.' : JSON.stringify(input, undefined, 2);
  for (const line of text.split('\n')) console.log(printable(line));
}

async function decide(verb: 'approve' | 'deny', id: string, { reason, ...at }: DecideOptions): Promise<void> {
  const body = reason === undefined ? {} : { reason };
  approvals.print(await administration(at).post(approvals.pathOf(id, verb), body));
}

function wordsOf(approval: JsonObject) {
  const { approval_id, state, server_id, tool_name, principal_id, team_id, expires_at, reason } = approval;
  return [
    ...[approval_id, state, `${server_id}/${tool_name}`, `${principal_id} of ${team_id}`, `until ${expires_at}`],
    ...(reason === undefined ? [] : [reason]),
  ];
}
