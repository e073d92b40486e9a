/** Secrets: listed as what they are called, put, deleted and rotated by those who may. A value never comes out again. */
import { randomUUID } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import type { RoleScope } from '../core/role-scope.ts';
import { secretNamePattern } from '../core/secret-change.ts';
import { isUuid } from '../core/uuidv7.ts';
import type { Rotation, SecretStore, SecretSummary } from '../storage/secrets.ts';
import type { ConnectionStore } from '../storage/upstream-connections.ts';
import type { Administer, Administered, AdminRequest } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { SecretVault } from './secret-vault.ts';

export interface KekStatus {
  readonly activeKekId: string;
  readonly loadedKekIds: readonly string[];
  readonly secretCount: number;
  /** How many secrets and tokens of users' accounts are under each key that is not the one in use. */
  readonly staleCounts: Readonly<Record<string, number>>;
  readonly lastRotated: Date | null;
}

export interface SecretList {
  readonly stored: readonly SecretSummary[];
  /** Names of variables of the gateway's environment that look like those of secrets. */
  readonly environment: readonly string[];
}

export interface ManageSecrets {
  readonly list: (request: AdminRequest) => Promise<SecretList>;
  /** Throws `INVALID_REQUEST`, `SECRET_READ_ONLY` for a variable of the environment, `CONFLICT` when there are too many. */
  readonly put: (request: AdminRequest, name: string, value: string) => Promise<Administered<string>>;
  /** Throws `SECRET_READ_ONLY` or `NOT_FOUND`. */
  readonly remove: (request: AdminRequest, name: string) => Promise<Administered<string>>;
  readonly kekStatus: (request: AdminRequest) => Promise<KekStatus>;
  /** Throws `CONFLICT` while one runs. */
  readonly rotateAll: (request: AdminRequest) => Promise<Administered<{ opId: string; targetKekId: string }>>;
  /** Throws `NOT_FOUND`. */
  readonly rotation: (request: AdminRequest, opId: string) => Promise<Rotation>;
}

export interface ManageSecretsOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly store: SecretStore;
  readonly vault: SecretVault;
  /** Tokens of users' accounts, and clients that they were given to, are under the same keys. */
  readonly alsoSealed: readonly Pick<ConnectionStore, 'countByKey'>[];
  /** Sorted. */
  readonly environmentNames: readonly string[];
  /** Runs a rotation that has started. */
  readonly rotate: (opId: string, targetKekId: string) => void;
}

export function createManageSecrets(options: ManageSecretsOptions): ManageSecrets {
  const { authorizeAction, administer, store, vault, environmentNames, rotate } = options;
  return {
    async list({ caller, facts }) {
      await authorizeAction('admin.secrets.list', caller, facts);
      return { stored: await store.list(), environment: environmentNames };
    },
    async put(request, name, value) {
      const done = await administer(request, {
        surfaceId: 'admin.secrets.set',
        resource: { type: 'secret', id: name },
        scopes: [scopeOf(name)],
        async prepare() {
          await assertMayPut(options, name);
          return { companions: { secrets: { kind: 'put', secret: await vault.seal(name, value) } }, answer: name };
        },
      });
      vault.forget(name);
      return done;
    },
    async remove(request, name) {
      const done = await administer(request, {
        surfaceId: 'admin.secrets.delete',
        resource: { type: 'secret', id: name },
        scopes: [scopeOf(name)],
        async prepare() {
          assertNotOfEnvironment(options, name);
          if ((await store.get(name)) === undefined)
            throw new TalosError('NOT_FOUND', { message: 'There is no such secret.' });
          return { companions: { secrets: { kind: 'delete', name } }, answer: name };
        },
      });
      vault.forget(name);
      return done;
    },
    async kekStatus({ caller, facts }) {
      await authorizeAction('admin.secrets.kek', caller, facts);
      return await kekStatus(options);
    },
    async rotateAll(request) {
      const opId = randomUUID();
      const started = await administer(request, {
        surfaceId: 'admin.secrets.rotate',
        resource: { type: 'rotation', id: opId },
        async prepare() {
          await store.endSilentRotations(bounds.secretRotationSilentMs);
          if ((await store.lastRotation())?.status === 'RUNNING') {
            throw new TalosError('CONFLICT', { message: 'A rotation is running.' });
          }
          const targetKekId = (await vault.keys()).active.id;
          return {
            companions: { secrets: { kind: 'start_rotation', opId, targetKekId } },
            meta: { kek_id: targetKekId },
            answer: { opId, targetKekId },
          };
        },
      });
      rotate(opId, started.answer.targetKekId);
      return started;
    },
    async rotation({ caller, facts }, opId) {
      await authorizeAction('admin.secrets.rotation', caller, facts);
      await store.endSilentRotations(bounds.secretRotationSilentMs);
      const found = isUuid(opId) ? await store.rotation(opId) : undefined;
      if (found === undefined) throw new TalosError('NOT_FOUND', { message: 'There is no such rotation.' });
      return found;
    },
  };
}

function scopeOf(name: string): RoleScope {
  return { scope_type: 'secret', attributes: { secret: name } };
}

async function assertMayPut(options: ManageSecretsOptions, name: string): Promise<void> {
  assertNotOfEnvironment(options, name);
  if (!secretNamePattern.test(name)) {
    throw new TalosError('INVALID_REQUEST', {
      message: 'A secret is named by 1 to 128 letters, digits, dots, _ and -.',
    });
  }
  const stored = await options.store.list();
  if (stored.length < bounds.secretsMax || stored.some((secret) => secret.name === name)) return;
  throw new TalosError('CONFLICT', { message: 'There are as many secrets as this gateway keeps.' });
}

function assertNotOfEnvironment({ environmentNames }: ManageSecretsOptions, name: string): void {
  if (environmentNames.includes(name)) throw new TalosError('SECRET_READ_ONLY');
}

async function kekStatus({ vault, store, alsoSealed }: ManageSecretsOptions): Promise<KekStatus> {
  const { active, byId } = await vault.keys();
  const stored = await store.list();
  const last = await store.lastRotation();
  const counts = new Map<string, number>();
  const count = (kekId: string, more: number) => counts.set(kekId, (counts.get(kekId) ?? 0) + more);
  for (const { kekId } of stored) count(kekId, 1);
  for (const { countByKey } of alsoSealed) for (const [kekId, more] of await countByKey()) count(kekId, more);
  return {
    activeKekId: active.id,
    loadedKekIds: [...byId.keys()],
    secretCount: stored.length,
    staleCounts: Object.fromEntries([...counts].filter(([id]) => id !== active.id)),
    lastRotated: last?.status === 'COMPLETED' ? last.completedAt : null,
  };
}
