/** Secrets by name: never by value. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { ManageSecrets, SecretList } from '../../../gateway/manage-secrets.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { AuditRef, answered, Removed } from './answered.ts';

const Secret = Type.Object({
  id: Type.String(),
  name: Type.String(),
  provider: Type.Union([Type.Literal('env'), Type.Literal('kms')], {
    description: '`env`: a variable of the environment of the gateway; `kms`: kept encrypted by the gateway.',
  }),
  created_at: Type.String(),
  updated_at: Type.String(),
  kek_id: Type.Optional(Type.String({ description: 'The key that it is kept under.' })),
});

const Secrets = Type.Object({ secrets: Type.Array(Secret), items: Type.Array(Secret), total: Type.Integer() });

const NewSecret = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 128 }),
  value: Type.String({ minLength: 1, maxLength: bounds.secretValueCharsMax }),
});

const KekStatus = Type.Object({
  active_kek_id: Type.String(),
  current_kek_id: Type.String(),
  loaded_kek_ids: Type.Array(Type.String()),
  stale_counts: Type.Record(Type.String(), Type.Integer(), { description: 'Secrets under keys that are not in use.' }),
  provider: Type.String(),
  secret_count: Type.Integer(),
  last_rotated: Type.String({ description: 'Empty when there was no rotation.' }),
  rotation_interval_days: Type.Integer({ description: 'A recommendation; nothing rotates by itself.' }),
  algorithm: Type.String(),
});

const Started = Type.Object({
  op_id: Type.String(),
  status: Type.Literal('RUNNING'),
  message: Type.String(),
  audit_ref: AuditRef,
});

const Rotation = Type.Object({
  id: Type.String(),
  status: Type.String(),
  target_kek_id: Type.String(),
  stats: Type.Object({ scanned: Type.Integer(), rotated: Type.Integer(), failed: Type.Integer() }),
  started_at: Type.String(),
  completed_at: Type.Union([Type.String(), Type.Null()]),
  message: Type.String(),
});

const rotationIntervalDays = 90;

export interface SecretRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly manageSecrets: ManageSecrets;
  readonly factsOf: FactsOf;
  readonly startedAt: Date;
}

const tags = ['Administration'];
const legacyErrorKey = 'detail';

export function secretRoutes(app: App, deps: SecretRouteDeps): void {
  valueRoutes(app, deps);
  keyRoutes(app, deps);
}

function valueRoutes(app: App, { authenticate, manageSecrets, factsOf, startedAt }: SecretRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/secrets',
    {
      config: { surface: 'admin.secrets.list', legacyErrorKey },
      schema: { tags, summary: 'Names of secrets', response: { 200: Secrets } },
      onRequest,
    },
    async (request) => {
      const list = await manageSecrets.list(askerOf(request, factsOf));
      const secrets = shown(list, startedAt.toISOString());
      return { secrets, items: secrets, total: secrets.length };
    },
  );

  app.post(
    '/admin/v1/secrets',
    {
      config: { surface: 'admin.secrets.set', legacyErrorKey },
      schema: {
        tags,
        summary: 'Put a secret',
        body: NewSecret,
        response: {
          200: Type.Object({
            status: Type.String(),
            success: Type.Boolean(),
            name: Type.String(),
            audit_ref: AuditRef,
          }),
        },
      },
      onRequest,
    },
    async (request, reply) => {
      const { name, value } = request.body;
      const put = await manageSecrets.put(askerOf(request, factsOf), name, value);
      return answered(reply, put, () => ({ status: 'created', success: true, name }));
    },
  );

  app.delete(
    '/admin/v1/secrets/:name',
    {
      config: { surface: 'admin.secrets.delete', legacyErrorKey },
      schema: {
        tags,
        summary: 'Delete a secret',
        params: Type.Object({ name: Type.String({ maxLength: 255 }) }),
        response: { 200: Removed },
      },
      onRequest,
    },
    async (request, reply) => {
      const removed = await manageSecrets.remove(askerOf(request, factsOf), request.params.name);
      return answered(reply, removed, () => ({ success: true }));
    },
  );
}

function shown({ stored, environment }: SecretList, startedAt: string) {
  return [
    ...stored.map(({ secretId, name, kekId, createdAt, updatedAt }) => ({
      id: secretId,
      name,
      provider: 'kms' as const,
      created_at: createdAt.toISOString(),
      updated_at: updatedAt.toISOString(),
      kek_id: kekId,
    })),
    ...environment.map((name) => ({
      id: `env:${name}`,
      name,
      provider: 'env' as const,
      created_at: startedAt,
      updated_at: startedAt,
    })),
  ];
}

function keyRoutes(app: App, { authenticate, manageSecrets, factsOf }: SecretRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/secrets/kek-status',
    {
      config: { surface: 'admin.secrets.kek', legacyErrorKey },
      schema: { tags, summary: 'The keys that secrets are kept under', response: { 200: KekStatus } },
      onRequest,
    },
    async (request) => {
      const status = await manageSecrets.kekStatus(askerOf(request, factsOf));
      return {
        active_kek_id: status.activeKekId,
        current_kek_id: status.activeKekId,
        loaded_kek_ids: [...status.loadedKekIds],
        stale_counts: { ...status.staleCounts },
        provider: 'local-aes-gcm',
        secret_count: status.secretCount,
        last_rotated: status.lastRotated?.toISOString() ?? '',
        rotation_interval_days: rotationIntervalDays,
        algorithm: 'AES-256-GCM',
      };
    },
  );

  app.post(
    '/admin/v1/secrets/rotate-all',
    {
      config: { surface: 'admin.secrets.rotate', legacyErrorKey },
      schema: { tags, summary: 'Put every secret under the key in use', response: { 200: Started } },
      onRequest,
    },
    async (request, reply) => {
      return answered(reply, await manageSecrets.rotateAll(askerOf(request, factsOf)), ({ opId, targetKekId }) => {
        const message = `Rotating all secrets to the key ${targetKekId}.`;
        return { op_id: opId, status: 'RUNNING' as const, message };
      });
    },
  );

  app.get(
    '/admin/v1/secrets/rotation-status/:op_id',
    {
      config: { surface: 'admin.secrets.rotation', legacyErrorKey },
      schema: {
        tags,
        summary: 'How far a rotation is',
        params: Type.Object({ op_id: Type.String({ maxLength: 255 }) }),
        response: { 200: Rotation },
      },
      onRequest,
    },
    async (request) => {
      const asker = askerOf(request, factsOf);
      const { opId, status, targetKekId, startedAt, completedAt, ...stats } = await manageSecrets.rotation(
        asker,
        request.params.op_id,
      );
      return {
        id: opId,
        status,
        target_kek_id: targetKekId,
        stats,
        started_at: startedAt.toISOString(),
        completed_at: completedAt?.toISOString() ?? null,
        message: `${stats.rotated} of ${stats.scanned} secrets rotated, ${stats.failed} failed.`,
      };
    },
  );
}
