/** `POST /admin/v1/policy/explain`: why a call would be allowed or refused, without making it. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { ExplainCall, ExplainedCall, Explanation } from '../../../gateway/explain-call.ts';
import { type AuthenticateRequest, askerOf, authenticated, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { DenialBody, denialBody } from './denial-body.ts';

const closed = { additionalProperties: false };
const Name = Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax });

const Body = Type.Object(
  {
    server_id: Name,
    tool_name: Type.String({ minLength: 1, maxLength: bounds.toolNameCharsMax }),
    input: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    capability: Type.Optional(Type.String({ minLength: 1, maxLength: bounds.capabilityTokenCharsMax })),
    principal: Type.Optional(
      Type.Object(
        {
          id: Name,
          team_id: Type.Optional(Name),
          permissions: Type.Optional(Type.Array(Name, { maxItems: bounds.permissionsMax })),
        },
        { ...closed, description: 'Who would call; when absent, whoever presents the capability.' },
      ),
    ),
    proves_possession: Type.Optional(
      Type.Boolean({ description: "Whether the request would be signed with the subject's key." }),
    ),
  },
  closed,
);

const Answer = Type.Object({
  decision: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
  denial: Type.Optional(DenialBody),
  remedies: Type.Array(Type.String(), { description: 'What would have to be otherwise.' }),
  tool_known: Type.Boolean(),
  lists_per_user: Type.Boolean({
    description:
      'Whether the server lists its tools to each user by their own account, which is not used for this: the tool is not known here, and its definition, pin and schema are not judged.',
  }),
  pin: Type.Optional(
    Type.Object({
      state: Type.String({ description: '`pinned`, `held`, `rejected`, or `unpinned`: the call would pin it.' }),
      pinned_hash: Type.Optional(Type.String({ description: 'Of the definition that may be used.' })),
      definition_hash: Type.String({ description: 'Of the definition that the server gives now.' }),
    }),
  ),
  policies: Type.Array(Type.Object({ id: Type.String(), allows: Type.Boolean(), demands_approval: Type.Boolean() }), {
    description: "Each policy of the caller's team; all must allow, and one is enough to demand an approval.",
  }),
  input_faults: Type.Array(Type.String()),
  links: Type.Array(
    Type.Object({
      capability_hash: Type.String(),
      issuer: Type.String(),
      subject: Type.String(),
      scopes: Type.Array(Type.String()),
      covers_call: Type.Boolean(),
      constraints: Type.Array(
        Type.Object({
          name: Type.String(),
          value: Type.Unknown(),
          holds: Type.Boolean(),
          denial_detail: Type.Optional(Type.String()),
          demands: Type.String(),
        }),
      ),
      faults: Type.Array(Type.Object({ ...DenialBody.properties, audit_ref: Type.Optional(Type.String()) }), {
        description: 'What is wrong with the link itself: revoked, expired, not trusted and so on.',
      }),
    }),
    { description: 'Each link of the capability that can be read, root first.' },
  ),
  audit_ref: Type.String(),
});

export interface ExplainRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly explainCall: ExplainCall;
  readonly factsOf: FactsOf;
}

export function explainRoutes(app: App, { authenticate, explainCall, factsOf }: ExplainRouteDeps): void {
  app.post(
    '/admin/v1/policy/explain',
    {
      config: { surface: 'admin.policy.explain' },
      schema: {
        tags: ['Administration'],
        summary: 'Why a call would be allowed or refused',
        body: Body,
        response: { 200: Answer },
      },
      onRequest: authenticated(authenticate, 'admin'),
    },
    async (request, reply) => {
      const explanation = await explainCall(askerOf(request, factsOf), callOf(request.body), clientGone(reply));
      void reply.header('x-talos-audit-ref', explanation.auditRef);
      return answerOf(explanation);
    },
  );
}

function callOf(body: Static<typeof Body>): ExplainedCall {
  const { server_id: serverId, tool_name: toolName, input, capability, principal, proves_possession } = body;
  return {
    serverId,
    toolName,
    input: (input ?? {}) as JsonObject,
    provesPossession: proves_possession === true,
    ...(capability === undefined ? {} : { capability }),
    ...(principal === undefined ? {} : principalOf(principal)),
  };
}

function principalOf({ id, team_id, permissions }: NonNullable<Static<typeof Body>['principal']>) {
  const principal = { authMode: 'bearer' as const, id, teamId: team_id ?? 'default' };
  return permissions === undefined ? { principal } : { principal, permissions };
}

function answerOf(explanation: Explanation): Static<typeof Answer> {
  const { denial, remedies, isToolKnown, listsPerUser, pin, policies, inputFaults, links, auditRef } = explanation;
  return {
    decision: denial === undefined ? 'allow' : 'deny',
    ...(denial === undefined ? {} : { denial: denialBody(denial) }),
    remedies: [...remedies],
    tool_known: isToolKnown,
    lists_per_user: listsPerUser,
    ...(pin === undefined ? {} : { pin: pinOf(pin) }),
    policies: policies.map(({ demandsApproval, ...policy }) => ({ ...policy, demands_approval: demandsApproval })),
    input_faults: [...inputFaults],
    links: links.map(({ hash, issuer, subject, scopes, coversCall, constraints, faults }) => ({
      capability_hash: hash,
      issuer,
      subject,
      scopes: [...scopes],
      covers_call: coversCall,
      constraints: constraints.map(({ detail, ...constraint }) => ({
        ...constraint,
        ...(detail === undefined ? {} : { denial_detail: detail }),
      })),
      faults: faults.map(({ denial: fault, auditRef: ref }) => ({
        ...denialBody(fault),
        ...(ref === undefined ? {} : { audit_ref: ref }),
      })),
    })),
    audit_ref: auditRef,
  };
}

function pinOf({ state, pinnedHash, definitionHash }: NonNullable<Explanation['pin']>) {
  return { state, definition_hash: definitionHash, ...(pinnedHash === undefined ? {} : { pinned_hash: pinnedHash }) };
}
