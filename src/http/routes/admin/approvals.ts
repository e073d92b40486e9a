/** Calls that a human has to approve: listed, looked at with their arguments, approved and denied. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { approvalState, type ToolApproval } from '../../../core/tool-approval.ts';
import type { ManageApprovals } from '../../../gateway/manage-approvals.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { answered } from './answered.ts';

const State = Type.Union(
  [
    Type.Literal('pending'),
    Type.Literal('approved'),
    Type.Literal('denied'),
    Type.Literal('used'),
    Type.Literal('expired'),
  ],
  { description: '`used`: a call was made under it; `expired`: none was in time.' },
);

const Approval = Type.Object({
  approval_id: Type.String(),
  state: State,
  principal_id: Type.String({ description: 'Who asked.' }),
  team_id: Type.String(),
  server_id: Type.String(),
  tool_name: Type.String(),
  request_hash: Type.String({ description: 'hex sha256 of the canonical call, as in its records.' }),
  definition_hash: Type.String({ description: 'Of the definition of the tool that the call was judged by.' }),
  requested_at: Type.String(),
  expires_at: Type.String(),
  decided_by: Type.Optional(Type.String()),
  decided_at: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
  intent_id: Type.Optional(Type.String({ description: 'The record that says that the call was made.' })),
});
const Looked = Type.Intersect([
  Approval,
  Type.Object({
    input: Type.Optional(Type.Unknown({ description: 'The arguments of the call, while it may be decided on.' })),
  }),
]);
const Decided = Type.Intersect([
  Approval,
  Type.Object({ audit_ref: Type.String({ description: 'The id of the record of this decision.' }) }),
]);

const Decision = Type.Union([
  Type.Object(
    {
      reason: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: bounds.approvalReasonCharsMax,
          description: 'Recorded; a denied caller is told.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  Type.Null(),
]);

export interface ApprovalRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly manageApprovals: ManageApprovals;
  readonly factsOf: FactsOf;
}

const tags = ['Administration'];
const path = '/admin/v1/mcp/approvals';
const params = Type.Object({ approval_id: Type.String({ maxLength: 64 }) });

export function approvalRoutes(app: App, deps: ApprovalRouteDeps): void {
  readRoutes(app, deps);
  decisionRoutes(app, deps);
}

function readRoutes(app: App, { authenticate, manageApprovals, factsOf }: ApprovalRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');
  app.get(
    path,
    {
      config: { surface: 'admin.mcp.approvals.list', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'Calls that a human has to approve, of the teams that the caller decides for',
        querystring: Type.Object({
          state: Type.Optional(State),
          team_id: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: bounds.approvalsPageMax })),
        }),
        response: { 200: Type.Object({ approvals: Type.Array(Approval) }) },
      },
      onRequest,
    },
    async (request) => {
      const { state, team_id: teamId, limit = bounds.approvalsPageMax } = request.query;
      const approvals = await manageApprovals.list(askerOf(request, factsOf), {
        limit,
        ...(state === undefined ? {} : { state }),
        ...(teamId === undefined ? {} : { teamId }),
      });
      return { approvals: approvals.map(shown) };
    },
  );
  app.get(
    `${path}/:approval_id`,
    {
      config: { surface: 'admin.mcp.approvals.get', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'A call to approve, with its arguments', params, response: { 200: Looked } },
      onRequest,
    },
    async (request) => {
      const { approval, input } = await manageApprovals.get(askerOf(request, factsOf), request.params.approval_id);
      return { ...shown(approval), ...(input === undefined ? {} : { input }) };
    },
  );
}

function decisionRoutes(app: App, { authenticate, manageApprovals, factsOf }: ApprovalRouteDeps): void {
  const decisions = [
    { verb: 'approve', surface: 'admin.mcp.approvals.approve', summary: 'Let the call be made, once' },
    { verb: 'deny', surface: 'admin.mcp.approvals.deny', summary: 'Refuse the call' },
  ] as const;
  for (const { verb, surface, summary } of decisions) {
    app.post(
      `${path}/:approval_id/${verb}`,
      {
        config: { surface, legacyErrorKey: 'detail' },
        schema: { tags, summary, params, body: Decision, response: { 200: Decided } },
        onRequest: authenticated(authenticate, 'admin'),
      },
      async (request, reply) => {
        const asker = askerOf(request, factsOf);
        const decided = await manageApprovals[verb](asker, request.params.approval_id, request.body?.reason);
        return answered(reply, decided, shown);
      },
    );
  }
}

function shown(approval: ToolApproval): Static<typeof Approval> {
  const { decidedBy, decidedAt, reason, intentId } = approval;
  return {
    approval_id: approval.approvalId,
    state: approvalState(approval),
    principal_id: approval.principalId,
    team_id: approval.teamId,
    server_id: approval.serverId,
    tool_name: approval.toolName,
    request_hash: approval.requestHash,
    definition_hash: approval.definitionHash,
    requested_at: approval.requestedAt.toISOString(),
    expires_at: approval.expiresAt.toISOString(),
    ...(decidedBy === undefined ? {} : { decided_by: decidedBy }),
    ...(decidedAt === undefined ? {} : { decided_at: decidedAt.toISOString() }),
    ...(reason === undefined ? {} : { reason }),
    ...(intentId === undefined ? {} : { intent_id: intentId }),
  };
}
