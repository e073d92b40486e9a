/**
 * Puts every secret, and the tokens of every user's account, under a fresh key of its own and the key in use, one after the
 * other, while they are used. A value that is changed meanwhile is under the key in use already, and is left as it is.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import { gatewayItself } from '../core/principal.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { Rotation, SecretStore } from '../storage/secrets.ts';
import type { ConnectionStore } from '../storage/upstream-connections.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { ConnectionVault } from './connection-vault.ts';
import type { SecretVault } from './secret-vault.ts';

export interface RotationOptions {
  readonly store: SecretStore;
  readonly vault: SecretVault;
  readonly tokens: RotatedTokens;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Tokens of users' accounts, which are under the same keys. */
export interface RotatedTokens {
  readonly connections: Pick<ConnectionStore, 'after' | 'reseal'>;
  readonly vault: Pick<ConnectionVault, 'renew'>;
}

type Stats = { scanned: number; rotated: number; failed: number };

/** Runs a rotation that was started, to its end. Never fails: what went wrong is in its state. */
export async function runRotation(options: RotationOptions, opId: string, targetKekId: string): Promise<void> {
  const { store, log, signal } = options;
  const stats: Stats = { scanned: 0, rotated: 0, failed: 0 };
  try {
    await renewAll(options, opId, stats);
    await renewTokens(options, opId, stats);
    const status = stats.failed === 0 && !signal.aborted ? 'COMPLETED' : 'FAILED';
    await store.progress({ opId, status, ...stats });
    await recordEnd(options, { opId, status, targetKekId, ...stats });
  } catch (error) {
    log.warn({ reason: describeError(error) }, 'the rotation of the secrets was given up');
    await store.progress({ opId, status: 'FAILED', ...stats }).catch(() => undefined);
  }
}

async function renewAll({ store, vault, log, signal }: RotationOptions, opId: string, stats: Stats): Promise<void> {
  let last = '';
  for (;;) {
    const page = await store.after(last, bounds.secretRotationPage);
    for (const secret of page) {
      if (signal.aborted) return;
      stats.scanned++;
      try {
        if (await store.renew(secret.secretId, await vault.renew(secret))) stats.rotated++;
      } catch (error) {
        stats.failed++;
        log.warn({ secret: secret.name, reason: describeError(error) }, 'a secret could not be rotated');
      }
    }
    last = page.at(-1)?.name ?? last;
    if (page.length < bounds.secretRotationPage) return;
    await store.progress({ opId, status: 'RUNNING', ...stats });
  }
}

async function renewTokens(options: RotationOptions, opId: string, stats: Stats): Promise<void> {
  const { store, tokens, log, signal } = options;
  let last = firstUuid;
  for (;;) {
    const page = await tokens.connections.after(last, bounds.secretRotationPage);
    for (const connection of page) {
      if (signal.aborted) return;
      stats.scanned++;
      try {
        if (await tokens.connections.reseal(connection, await tokens.vault.renew(connection))) stats.rotated++;
      } catch (error) {
        stats.failed++;
        const { serverId: server } = connection;
        log.warn({ server, reason: describeError(error) }, 'the tokens of a user could not be rotated');
      }
    }
    last = page.at(-1)?.connectionId ?? last;
    if (page.length < bounds.secretRotationPage) return;
    await store.progress({ opId, status: 'RUNNING', ...stats });
  }
}

const firstUuid = '00000000-0000-0000-0000-000000000000';

async function recordEnd(
  { recorder }: RotationOptions,
  rotation: Pick<Rotation, 'opId' | 'status' | 'targetKekId' | 'scanned' | 'rotated' | 'failed'>,
): Promise<void> {
  await recorder.record({
    surfaceId: 'secrets.rotated',
    requestId: rotation.opId,
    outcome: rotation.status === 'COMPLETED' ? 'success' : 'failure',
    principal: gatewayItself,
    http: surfaceHttp('secrets.rotated', 200),
    resource: { type: 'rotation', id: rotation.opId },
    meta: {
      event_type: 'administration',
      kek_id: rotation.targetKekId,
      secrets_scanned: rotation.scanned,
      secrets_rotated: rotation.rotated,
      secrets_failed: rotation.failed,
    },
  });
}
