/**
 * Approvals of calls as approvers see and decide them: those of the teams that they may decide for, and never of a call of
 * their own.
 */
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { KeyRing } from '../core/key-ring.ts';
import { recordName } from '../core/record-name.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import { type ApprovalState, approvalState, type ToolApproval } from '../core/tool-approval.ts';
import type { VisibleTeams } from '../core/visible-teams.ts';
import { type PolicyMode, visibleTeams } from '../policy/decide.ts';
import { type ApprovalStore, isOf } from '../storage/tool-approvals.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { type Administer, type Administered, type AdminRequest, conflict } from './administer.ts';
import { openArguments } from './approval-arguments.ts';
import type { ApprovalWaiters } from './approval-waiters.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller } from './caller.ts';
import { notTheirs } from './refusal.ts';

export interface ApprovalQuery {
  readonly teamId?: string;
  readonly state?: ApprovalState;
  readonly limit: number;
}

export interface ApprovalView {
  readonly approval: ToolApproval;
  /** Undefined when they are not kept any longer. */
  readonly input?: JsonObject;
}

export interface ManageApprovals {
  /** Newest first. */
  readonly list: (request: AdminRequest, query: ApprovalQuery) => Promise<readonly ToolApproval[]>;
  /** Throws `NOT_FOUND`, as do those below, and `SECRETS_UNREADABLE`. */
  readonly get: (request: AdminRequest, approvalId: string) => Promise<ApprovalView>;
  /** Throws `TALOS_DENIED` for a call of one's own, and `CONFLICT` for what is not pending any more. */
  readonly approve: Decide;
  readonly deny: Decide;
}

type Decide = (request: AdminRequest, approvalId: string, reason?: string) => Promise<Administered<ToolApproval>>;

export interface ManageApprovalsOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly policyMode: PolicyMode;
  readonly store: ApprovalStore;
  readonly waiters: Pick<ApprovalWaiters, 'wake'>;
  readonly readKeys: () => Promise<KeyRing>;
  readonly telemetry: Pick<Telemetry, 'approvalChanged'>;
}

export function createManageApprovals(options: ManageApprovalsOptions): ManageApprovals {
  const { authorizeAction, administer, policyMode, store, waiters, telemetry } = options;
  const teamsOf = (action: string, caller: Caller) => visibleTeams(action, caller, policyMode);

  async function found(action: string, caller: Caller, approvalId: string): Promise<ToolApproval> {
    const approval = await store.find(approvalId);
    if (approval !== undefined && isSeen(approval, teamsOf(action, caller))) return approval;
    throw new TalosError('NOT_FOUND', { message: 'There is no such approval.' });
  }

  async function decide(
    kind: 'approve' | 'deny',
    surfaceId: SurfaceId,
    request: AdminRequest,
    approvalId: string,
    reason: string | undefined,
  ): Promise<Administered<ToolApproval>> {
    const { caller } = request;
    const decided = await administer(request, {
      surfaceId,
      resource: { type: 'approval', id: recordName(approvalId, bounds.recordNameCharsMax) || '-' },
      async prepare() {
        const approval = await found('admin.approvals.write', caller, approvalId);
        const decidedBy = assertAnother(caller, approval);
        assertPending(approval);
        const said = reason === undefined ? {} : { reason };
        return {
          companions: { approval: { kind, approvalId, decidedBy, ...said } },
          meta: metaOf(approval),
          ...(reason === undefined ? {} : { details: said }),
          answer: approval,
        };
      },
    });
    waiters.wake(approvalId);
    telemetry.approvalChanged(kind === 'approve' ? 'approved' : 'denied');
    // The decision is made, whether or not it can be read now.
    const answer = (await store.find(approvalId).catch(() => undefined)) ?? decided.answer;
    return { ...decided, answer };
  }

  return {
    async list({ caller, facts }, { teamId, ...query }) {
      await authorizeAction('admin.mcp.approvals.list', caller, facts);
      const teams = teamsOf('admin.approvals.read', caller);
      return await store.list({ ...query, teams: teamId === undefined ? teams : within(teams, teamId) });
    },
    async get({ caller, facts }, approvalId) {
      await authorizeAction('admin.mcp.approvals.get', caller, facts);
      const approval = await found('admin.approvals.read', caller, approvalId);
      const envelope = await store.arguments(approvalId);
      const input = envelope && openArguments(approvalId, envelope, await options.readKeys());
      return { approval, ...(input === undefined ? {} : { input }) };
    },
    approve: (request, id, reason) => decide('approve', 'admin.mcp.approvals.approve', request, id, reason),
    deny: (request, id, reason) => decide('deny', 'admin.mcp.approvals.deny', request, id, reason),
  };
}

function isSeen(approval: ToolApproval, teams: VisibleTeams): boolean {
  return teams === 'all' || teams.some((teamId) => isOf(approval, { teamId }));
}

function within(teams: VisibleTeams, teamId: string): VisibleTeams {
  return teams === 'all' || teams.includes(teamId) ? [teamId] : [];
}

/** The name of who decides. Four eyes see more than two. */
function assertAnother({ principal }: Caller, approval: ToolApproval): string {
  if (principal.authMode !== 'anonymous' && !isOf(approval, { principalId: principal.id })) return principal.id;
  throw notTheirs('own_call', 'Nobody decides on a call of their own.');
}

function assertPending(approval: ToolApproval): void {
  const state = approvalState(approval);
  if (state !== 'pending') throw conflict(`The approval is ${state}.`);
}

function metaOf({ approvalId, serverId, toolName, requestHash, principalId }: ToolApproval) {
  return {
    approval_id: approvalId,
    server_id: serverId,
    tool_name: recordName(toolName, bounds.recordNameCharsMax),
    request_hash: requestHash,
    approval_principal: principalId,
  };
}
