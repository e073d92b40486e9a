/** `/admin/v1/api-keys`: keys are made, listed, replaced and revoked. A key itself is shown once, when it is made. */

import type { FastifyReply } from 'fastify';
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { type ApiKey, isApiKeyInForce } from '../../../core/api-key.ts';
import type { Administered } from '../../../gateway/administer.ts';
import type { IssuedApiKey, ManageApiKeys } from '../../../gateway/manage-api-keys.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

const Time = Type.String({ description: 'RFC 3339.' });

const Key = Type.Object({
  id: Type.String(),
  name: Type.String(),
  principal_id: Type.String(),
  team_id: Type.String(),
  permissions: Type.Array(Type.String()),
  hint: Type.String({ description: 'How the key begins.' }),
  status: Type.String({ description: '`active`, `expired` or `revoked`.' }),
  created_at: Time,
  created_by: Type.String(),
  expires_at: Type.Optional(Time),
  revoked_at: Type.Optional(Time),
  last_used_at: Type.Optional(Type.String({ description: 'RFC 3339, to the minute.' })),
  replaces: Type.Optional(Type.String({ description: 'The id of the key that this one took the place of.' })),
});

const Issued = Type.Object({
  api_key: Type.String({ description: 'The key itself: shown now and never again.' }),
  key: Key,
});

const Keys = Type.Object({ api_keys: Type.Array(Key), items: Type.Array(Key), total: Type.Integer() });

const Page = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: bounds.apiKeysPageMax })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000_000 })),
});

const Name = Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax });

const NewKey = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: bounds.apiKeyNameCharsMax, description: 'What people call it.' }),
    principal_id: Type.Optional({ ...Name, description: 'In whose name it speaks; `key:<id>` when absent.' }),
    team_id: Type.Optional({ ...Name, description: "The maker's when absent." }),
    permissions: Type.Optional(Type.Array(Name, { maxItems: bounds.permissionsMax })),
    expires_in_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: bounds.apiKeyTtlSecMax })),
  },
  { additionalProperties: false },
);

const Rotation = Type.Object(
  {
    grace_seconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: bounds.apiKeyGraceSecMax,
        description: 'How long the old key still counts.',
      }),
    ),
  },
  { additionalProperties: false },
);

const Params = Type.Object({ key_id: Type.String() });

export interface ApiKeyRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly manageApiKeys: ManageApiKeys;
  readonly nowSeconds: () => number;
  readonly factsOf: FactsOf;
}

export function apiKeyRoutes(app: App, deps: ApiKeyRouteDeps): void {
  const { manageApiKeys, factsOf } = deps;
  const tags = ['Administration'];
  const onRequest = authenticated(deps.authenticate, 'admin');
  const shown = (apiKey: ApiKey) => bodyOf(apiKey, deps.nowSeconds() * 1000);
  const answer = (reply: FastifyReply, { answer: { apiKey, key }, auditRef }: Administered<IssuedApiKey>) => {
    reply.header('x-talos-audit-ref', auditRef);
    return { api_key: key, key: shown(apiKey) };
  };

  app.get(
    '/admin/v1/api-keys',
    {
      config: { surface: 'admin.keys.list', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'List API keys', querystring: Page, response: { 200: Keys } },
      onRequest,
    },
    async (request) => {
      const { limit = bounds.apiKeysPageMax, offset = 0 } = request.query;
      const { apiKeys, total } = await manageApiKeys.list(askerOf(request, factsOf), { limit, offset });
      const items = apiKeys.map(shown);
      return { api_keys: items, items, total };
    },
  );

  app.post(
    '/admin/v1/api-keys',
    {
      config: { surface: 'admin.keys.create', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'Make an API key', body: NewKey, response: { 200: Issued } },
      onRequest,
    },
    async (request, reply) => {
      const { name, principal_id: principalId, team_id: teamId, permissions = [] } = request.body;
      const { expires_in_seconds: ttlSec } = request.body;
      const given = {
        name,
        permissions,
        ...(principalId === undefined ? {} : { principalId }),
        ...(teamId === undefined ? {} : { teamId }),
        ...(ttlSec === undefined ? {} : { ttlSec }),
      };
      return answer(reply, await manageApiKeys.create(askerOf(request, factsOf), given));
    },
  );

  app.post(
    '/admin/v1/api-keys/:key_id/rotate',
    {
      config: { surface: 'admin.keys.rotate', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'Put a new API key in the place of one',
        params: Params,
        body: Rotation,
        response: { 200: Issued },
      },
      onRequest,
    },
    async (request, reply) => {
      const { grace_seconds: graceSec = 0 } = request.body;
      return answer(reply, await manageApiKeys.rotate(askerOf(request, factsOf), request.params.key_id, graceSec));
    },
  );

  app.delete(
    '/admin/v1/api-keys/:key_id',
    {
      config: { surface: 'admin.keys.revoke', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'Revoke an API key',
        params: Params,
        response: { 200: Type.Object({ success: Type.Boolean(), key: Key }) },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      const { answer: revoked, auditRef } = await manageApiKeys.revoke(asker, request.params.key_id);
      reply.header('x-talos-audit-ref', auditRef);
      return { success: true, key: shown(revoked) };
    },
  );
}

function bodyOf(apiKey: ApiKey, nowMs: number): Static<typeof Key> {
  const { id, name, principalId, teamId, permissions, hint, createdBy, replaces } = apiKey;
  return {
    id,
    name,
    principal_id: principalId,
    team_id: teamId,
    permissions: [...permissions],
    hint,
    status: statusOf(apiKey, nowMs),
    created_at: iso(apiKey.createdAtMs),
    created_by: createdBy,
    ...time('expires_at', apiKey.expiresAtMs),
    ...time('revoked_at', apiKey.revokedAtMs),
    ...time('last_used_at', apiKey.lastUsedAtMs),
    ...(replaces === undefined ? {} : { replaces }),
  };
}

function statusOf(apiKey: ApiKey, nowMs: number): 'active' | 'expired' | 'revoked' {
  if (isApiKeyInForce(apiKey, nowMs)) return 'active';
  return apiKey.revokedAtMs === undefined ? 'expired' : 'revoked';
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function time<K extends string>(key: K, ms: number | undefined): { [P in K]?: string } {
  return (ms === undefined ? {} : { [key]: iso(ms) }) as { [P in K]?: string };
}
