/** `POST /admin/v1/auth/token`: a token of the administration for whoever holds the admin secret. */
import { randomUUID } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { IssueToken } from '../../../gateway/issue-token.ts';
import type { FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

const Name = Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax });

const Body = Type.Object({
  principal: Type.Optional({ ...Name, default: 'dev-admin', description: 'In whose name the token is.' }),
  team_id: Type.Optional(Name),
  permissions: Type.Array(Name, {
    minItems: 1,
    maxItems: bounds.permissionsMax,
    description: 'Such as `audit.read` or `audit:read`.',
  }),
  ttl_seconds: Type.Optional(
    Type.Integer({
      minimum: bounds.adminTokenTtlSecMin,
      maximum: bounds.adminTokenTtlSecMax,
      default: bounds.adminTokenTtlSecDefault,
    }),
  ),
  session_id: Type.Optional(Type.String({ minLength: 1, maxLength: bounds.requestIdCharsMax })),
  data_plane_token: Type.Optional(
    Type.String({
      maxLength: bounds.identityTokenCharsMax,
      description:
        'An API key. Needed for permissions of `mcp`, `llm` and `a2a` that are no administration, such as `mcp.invoke`, which it must carry; else not looked at.',
    }),
  ),
});

const Answer = Type.Object({
  token_type: Type.Literal('Bearer'),
  token: Type.String(),
  principal: Type.String(),
  session_id: Type.String(),
  permissions: Type.Array(Type.String(), { description: 'As they were asked for, sorted.' }),
  expires_in: Type.Integer({ description: 'Seconds.' }),
  expires_at: Type.String({ description: 'RFC 3339.' }),
});

const principalDefault = 'dev-admin';

export interface TokenRouteDeps {
  readonly issueToken: IssueToken;
  readonly factsOf: FactsOf;
}

export function tokenRoutes(app: App, { issueToken, factsOf }: TokenRouteDeps): void {
  const admission = new WeakMap<FastifyRequest, ReturnType<IssueToken>>();

  app.post(
    '/admin/v1/auth/token',
    {
      config: { surface: 'admin.auth.token', legacyErrorKey: 'detail' },
      schema: {
        tags: ['Administration'],
        summary: 'Get a token of the administration',
        description: 'The header `X-Talos-Admin-Secret` carries the admin secret.',
        body: Body,
        response: { 200: Answer },
      },
      onRequest: async (request) => {
        const secret = request.headers['x-talos-admin-secret'];
        admission.set(request, issueToken(typeof secret === 'string' ? secret : ''));
      },
    },
    async (request, reply) => {
      const issue = admission.get(request);
      if (issue === undefined) throw new Error('The route does not admit its caller.');
      const { principal = principalDefault, team_id: teamId, permissions } = request.body;
      const { ttl_seconds: ttlSec = bounds.adminTokenTtlSecDefault, session_id: sessionId = randomUUID() } =
        request.body;
      const { data_plane_token: dataPlaneToken } = request.body;
      const asked = {
        ...{ principalId: principal, permissions, sessionId, ttlSec },
        ...(teamId === undefined ? {} : { teamId }),
        ...(dataPlaneToken === undefined ? {} : { dataPlaneToken }),
      };
      const issued = await issue(asked, factsOf(request));
      reply.header('x-talos-audit-ref', issued.auditRef);
      return {
        token_type: 'Bearer' as const,
        token: issued.token,
        principal,
        session_id: sessionId,
        permissions: [...issued.permissions],
        expires_in: ttlSec,
        expires_at: new Date(issued.expiresAtSec * 1000).toISOString(),
      };
    },
  );
}
