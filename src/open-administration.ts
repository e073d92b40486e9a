/** What administrators change while the gateway runs: roles and secrets, with the keys that secrets are kept under. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bounds } from './config/bounds.ts';
import type { Config, Secrets } from './config/config.ts';
import { makeKeyFile } from './config/key-file.ts';
import type { Clock } from './core/clock.ts';
import { envelopeKeyBytes } from './core/envelope.ts';
import { type KeyRing, parseKeyRing } from './core/key-ring.ts';
import { OneAtATime } from './core/one-at-a-time.ts';
import { createSecretVault, type SecretVault } from './gateway/secret-vault.ts';
import { type Roles, startRoles } from './policy/roles.ts';
import { type ChangeLock, createChangeLock } from './storage/change-lock.ts';
import type { openReadPool } from './storage/db.ts';
import { createRoleStore } from './storage/rbac.ts';
import { createSecretStore, type SecretStore } from './storage/secrets.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface AdministrationOptions {
  readonly config: Pick<Config, 'dataDir' | 'secretsKeyFile'>;
  readonly secrets: Pick<Secrets, 'secretsKey'>;
  readonly pool: ReturnType<typeof openReadPool>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface Administration {
  readonly roles: Roles;
  readonly secretStore: SecretStore;
  readonly vault: SecretVault;
  readonly changeLock: ChangeLock;
  /** Runs what outlives its request, one after the other; it must not reject. `close` ends it by `signal` and waits for it. */
  readonly run: (work: () => Promise<void>) => void;
  readonly signal: AbortSignal;
  readonly close: () => Promise<void>;
}

/** Throws `STORE_UNAVAILABLE` when the roles cannot be read. */
export async function openAdministration(options: AdministrationOptions): Promise<Administration> {
  const { config, secrets, pool, clock, telemetry } = options;
  const roles = await startRoles({
    store: createRoleStore(pool),
    clock,
    log: telemetry.log,
    pollMs: bounds.rolePollMs,
    ageMsMax: bounds.roleAgeMsMax,
  });
  const secretStore = createSecretStore(pool);
  const file = config.secretsKeyFile ?? join(config.dataDir, 'secrets.key');
  // A file that the operator named is the operator's: a missing one is a mistake, and making another key would hide it.
  const mayMake = config.secretsKeyFile === undefined;
  const readKeys = async (): Promise<KeyRing> => {
    if (secrets.secretsKey !== undefined) return parseKeyRing(secrets.secretsKey.reveal(), 'secrets_key');
    if (mayMake) await makeKeyFile(file, envelopeKeyBytes);
    return parseKeyRing(await readFile(file, 'utf8'), 'the file of the secrets key');
  };
  const stopping = new AbortController();
  const background = new OneAtATime();
  return {
    roles,
    secretStore,
    vault: createSecretVault({ store: secretStore, readKeys, clock }),
    changeLock: createChangeLock(pool),
    run: (work) => void background.run(work),
    signal: stopping.signal,
    async close() {
      stopping.abort();
      await background.settled();
      await roles.close();
    },
  };
}
