/** Capabilities for administrators: grant, revoke, list what is revoked, and explain a token. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { CapabilityAdmin, Inspected, RevokeRequest } from '../../../gateway/capabilities.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { DenialBody, denialBody } from './denial-body.ts';

const Token = Type.String({ minLength: 1, maxLength: bounds.capabilityTokenCharsMax });
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Name = Type.String({ minLength: 1, maxLength: 200 });
const TimeSec = Type.Integer({ description: 'Unix seconds.' });

const closed = { additionalProperties: false };

const GrantBody = Type.Object(
  {
    subject: Name,
    scope: Type.String({ minLength: 1, maxLength: 4_096 }),
    ttl_seconds: Type.Integer({ minimum: 1, maximum: bounds.capabilityTtlSecMax }),
    constraints: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    delegatable: Type.Optional(Type.Boolean()),
  },
  closed,
);

const GrantAnswer = Type.Object({
  token: Type.String({ description: 'Shown once, and kept nowhere.' }),
  capability_hash: Hash,
  expires_at: TimeSec,
  audit_ref: Type.String(),
});

const because = { reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })) };
const RevokeBody = Type.Union([
  Type.Object({ token: Token, ...because }, closed),
  Type.Object({ capability_hash: Hash, ...because }, closed),
  Type.Object({ id: Name, ...because }, closed),
]);

const RevokeAnswer = Type.Object({
  revoked: Type.Object({ kind: Type.String(), value: Type.String() }),
  audit_ref: Type.String(),
});

const ListQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: bounds.revocationsListMax })),
  before: Type.Optional(Type.Integer({ minimum: 1, description: 'The `next` of the page before.' })),
});

const ListAnswer = Type.Object({
  revocations: Type.Array(
    Type.Object({
      revocation_id: Type.Integer(),
      kind: Type.String(),
      value: Type.String(),
      revoked_at: TimeSec,
      revoked_by: Type.Optional(Type.String({ description: 'As its record says, while there is one.' })),
      reason: Type.Optional(Type.String({ description: 'The same.' })),
      audit_ref: Type.String(),
    }),
  ),
  next: Type.Union([Type.Integer(), Type.Null()]),
});

const Texts = Type.Array(Type.String());
const InspectAnswer = Type.Object({
  capability_hash: Hash,
  accepted: Type.Boolean({ description: 'Whether this gateway would accept it now, from whoever presents it.' }),
  denial: Type.Optional(DenialBody),
  links: Type.Array(
    Type.Object({
      capability_hash: Hash,
      form: Type.String(),
      id: Type.Optional(Type.String()),
      issuer: Type.String(),
      subject: Type.String(),
      signature_valid: Type.Boolean(),
      allows: Texts,
      conditions: Texts,
      times: Texts,
      warnings: Texts,
    }),
    { description: 'The token with all that it was derived from, root first.' },
  ),
});

export interface CapabilityRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly capabilities: CapabilityAdmin;
  readonly factsOf: FactsOf;
}

const listLimitDefault = 100;

export function capabilityRoutes(app: App, { authenticate, capabilities, factsOf }: CapabilityRouteDeps): void {
  const tags = ['Administration'];
  const onRequest = authenticated(authenticate, 'admin');

  app.post(
    '/admin/v1/capabilities',
    {
      config: { surface: 'admin.capabilities.grant' },
      schema: { tags, summary: 'Grant a capability', body: GrantBody, response: { 200: GrantAnswer } },
      onRequest,
    },
    async (request, reply) => {
      const { subject, scope, ttl_seconds: ttlSec, constraints, delegatable } = request.body;
      const granted = await capabilities.grant({
        ...askerOf(request, factsOf),
        subject,
        scope,
        ttlSec,
        ...(constraints === undefined ? {} : { constraints: constraints as JsonObject }),
        ...(delegatable === undefined ? {} : { delegatable }),
      });
      const { token, hash, expiresAtSec, auditRef } = granted;
      void reply.header('cache-control', 'no-store').header('x-talos-audit-ref', auditRef);
      return { token, capability_hash: hash, expires_at: expiresAtSec, audit_ref: auditRef };
    },
  );

  app.post(
    '/admin/v1/capabilities/revoke',
    {
      config: { surface: 'admin.capabilities.revoke' },
      schema: {
        tags,
        summary: 'Revoke a capability and all that was derived from it',
        body: RevokeBody,
        response: { 200: RevokeAnswer },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      const { revocation, auditRef } = await capabilities.revoke({ ...asker, ...revokeRequest(request.body) });
      void reply.header('x-talos-audit-ref', auditRef);
      return { revoked: { kind: revocation.kind, value: revocation.value }, audit_ref: auditRef };
    },
  );

  app.get(
    '/admin/v1/capabilities/revocations',
    {
      config: { surface: 'admin.capabilities.revocations' },
      schema: { tags, summary: 'What is revoked, newest first', querystring: ListQuery, response: { 200: ListAnswer } },
      onRequest,
    },
    async (request) => {
      const { limit = listLimitDefault, before } = request.query;
      const asker = askerOf(request, factsOf);
      const page = await capabilities.revocations(asker, { limit, ...(before === undefined ? {} : { before }) });
      return {
        revocations: page.map(({ revocationId, kind, value, revokedAtSec, eventId, by, because }) => ({
          revocation_id: revocationId,
          kind,
          value,
          revoked_at: revokedAtSec,
          ...(by === undefined ? {} : { revoked_by: by }),
          ...(because === undefined ? {} : { reason: because }),
          audit_ref: eventId,
        })),
        next: page.length < limit ? null : (page.at(-1)?.revocationId ?? null),
      };
    },
  );

  app.post(
    '/admin/v1/capabilities/inspect',
    {
      config: { surface: 'admin.capabilities.inspect' },
      schema: {
        tags,
        summary: 'Explain a capability in words',
        body: Type.Object({ token: Token }, closed),
        response: { 200: InspectAnswer },
      },
      onRequest,
    },
    async (request) => {
      return inspectAnswer(await capabilities.inspect(askerOf(request, factsOf), request.body.token));
    },
  );
}

function revokeRequest(body: Static<typeof RevokeBody>): Pick<RevokeRequest, 'target' | 'because'> {
  return { target: targetOf(body), ...(body.reason === undefined ? {} : { because: body.reason }) };
}

function targetOf(body: Static<typeof RevokeBody>): RevokeRequest['target'] {
  if ('token' in body) return { token: body.token };
  return 'id' in body ? { kind: 'id', value: body.id } : { kind: 'hash', value: body.capability_hash };
}

function inspectAnswer({ links, chainFault, denial }: Inspected): Static<typeof InspectAnswer> {
  const fault = denial ?? chainFault;
  return {
    capability_hash: links.at(-1)?.hash ?? '',
    accepted: fault === undefined,
    ...(fault === undefined ? {} : { denial: denialBody(fault) }),
    links: links.map(linkAnswer),
  };
}

function linkAnswer(link: Inspected['links'][number]): Static<typeof InspectAnswer>['links'][number] {
  const { hash, form, id, issuer, subject, isSigned, allows, conditions, times, warnings } = link;
  return {
    capability_hash: hash,
    form,
    ...(id === undefined ? {} : { id }),
    issuer,
    subject,
    signature_valid: isSigned,
    allows: [...allows],
    conditions: [...conditions],
    times: [...times],
    warnings: [...warnings],
  };
}
