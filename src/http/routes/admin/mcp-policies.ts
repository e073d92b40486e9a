/** Policies of teams: what each may use of the tool servers, and what a human has to approve. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { StoredPolicy } from '../../../core/team-policy.ts';
import type { ManagePolicies, PolicyFields } from '../../../gateway/manage-policies.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { AuditRef, answered, withAuditRef } from './answered.ts';

const Name = Type.String({ minLength: 1, maxLength: 255 });
const Servers = Type.Array(Type.String({ maxLength: 63 }), {
  maxItems: bounds.toolPolicyServersMax,
  description: 'Ids of servers; empty means all.',
});
const patterns = (description: string) =>
  Type.Record(
    Type.String({ maxLength: 63 }),
    Type.Array(Type.String({ minLength: 1, maxLength: bounds.toolPolicyPatternCharsMax }), {
      maxItems: bounds.toolPolicyPatternsMax,
    }),
    { description },
  );
const Tools = patterns('By server, or `*`: names of tools that may be called, in which `*` and `?` are wild.');
const Approval = patterns('By server, or `*`: tools that are called only when a human has approved the call.');
const Default = Type.Boolean({
  description: 'Whether servers that neither list names are refused, where tools are listed.',
});

const fields = {
  team_id: Type.Optional(Name),
  allowed_servers: Type.Optional(Servers),
  allowed_tools: Type.Optional(Tools),
  deny_by_default: Type.Optional(Default),
  require_approval: Type.Optional(Approval),
};
const closed = { additionalProperties: false };
const NewPolicy = Type.Object(
  {
    ...fields,
    id: Type.Optional(Name),
    team_id: Type.String({ minLength: 1, maxLength: 255, description: '`*` for every team.' }),
  },
  closed,
);
const Patch = Type.Object(
  {
    ...fields,
    expected_version: Type.Optional(Type.Integer({ description: 'Refuse with 409 when the policy is at another.' })),
  },
  closed,
);
const Policy = Type.Object({
  id: Type.String(),
  team_id: Type.String(),
  allowed_servers: Servers,
  allowed_tools: Tools,
  deny_by_default: Default,
  require_approval: Approval,
  version: Type.Integer(),
  created_at: Type.String(),
  updated_at: Type.String(),
});
const Changed = withAuditRef(Policy);

export interface McpPolicyRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly managePolicies: ManagePolicies;
  readonly factsOf: FactsOf;
}

const tags = ['Administration'];
const legacyErrorKey = 'detail';
const path = '/admin/v1/mcp/policies';
const params = Type.Object({ policy_id: Type.String({ maxLength: 255 }) });

export function mcpPolicyRoutes(app: App, deps: McpPolicyRouteDeps): void {
  readRoutes(app, deps);
  changeRoutes(app, deps);
}

function readRoutes(app: App, { authenticate, managePolicies, factsOf }: McpPolicyRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');
  app.get(
    path,
    {
      config: { surface: 'admin.mcp.policies.list', legacyErrorKey },
      schema: {
        tags,
        summary: 'The policies of teams',
        querystring: Type.Object({ team_id: Type.Optional(Name) }),
        response: { 200: Type.Object({ policies: Type.Array(Policy), total: Type.Integer() }) },
      },
      onRequest,
    },
    async (request) => {
      const policies = await managePolicies.list(askerOf(request, factsOf), request.query.team_id);
      return { policies: policies.map(shown), total: policies.length };
    },
  );
  app.get(
    `${path}/:policy_id`,
    {
      config: { surface: 'admin.mcp.policies.get', legacyErrorKey },
      schema: { tags, summary: 'A policy', params, response: { 200: Policy } },
      onRequest,
    },
    async (request) => {
      return shown(await managePolicies.get(askerOf(request, factsOf), request.params.policy_id));
    },
  );
}

function changeRoutes(app: App, { authenticate, managePolicies, factsOf }: McpPolicyRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');
  app.post(
    path,
    {
      config: { surface: 'admin.mcp.policies.add', legacyErrorKey },
      schema: { tags, summary: 'Add a policy', body: NewPolicy, response: { 200: Changed } },
      onRequest,
    },
    async (request, reply) => {
      return answered(reply, await managePolicies.add(askerOf(request, factsOf), request.body), shown);
    },
  );
  app.patch(
    `${path}/:policy_id`,
    {
      config: { surface: 'admin.mcp.policies.change', legacyErrorKey },
      schema: {
        tags,
        summary: 'Change a policy: what is named is replaced',
        params,
        body: Patch,
        response: { 200: Changed },
      },
      onRequest,
    },
    async (request, reply) => {
      const { expected_version: version, ...patch } = request.body;
      const asker = askerOf(request, factsOf);
      const changed = await managePolicies.change(asker, request.params.policy_id, patch as PolicyFields, version);
      return answered(reply, changed, shown);
    },
  );
  app.delete(
    `${path}/:policy_id`,
    {
      config: { surface: 'admin.mcp.policies.remove', legacyErrorKey },
      schema: {
        tags,
        summary: 'Remove a policy',
        params,
        response: { 200: Type.Object({ success: Type.Boolean(), id: Type.String(), audit_ref: AuditRef }) },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      const removed = await managePolicies.remove(asker, request.params.policy_id);
      return answered(reply, removed, (id) => ({ success: true, id }));
    },
  );
}

function shown({ policy, version, createdAt, updatedAt }: StoredPolicy): Static<typeof Policy> {
  return {
    id: policy.id,
    team_id: policy.team_id,
    allowed_servers: [...policy.allowed_servers],
    allowed_tools: mutable(policy.allowed_tools),
    deny_by_default: policy.deny_by_default,
    require_approval: mutable(policy.require_approval),
    version,
    created_at: createdAt.toISOString(),
    updated_at: updatedAt.toISOString(),
  };
}

function mutable(patterns: Readonly<Record<string, readonly string[]>>): Record<string, string[]> {
  return Object.fromEntries(Object.entries(patterns).map(([server, names]) => [server, [...names]]));
}
