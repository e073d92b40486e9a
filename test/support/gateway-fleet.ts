/** Gateways as processes of their own on one database. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type GatewayProcess, startGatewayProcess } from './gateway-process.ts';
import { createTestDatabase, type TestDatabase } from './postgres.ts';

type Environment = Readonly<Record<string, string>>;

export interface GatewayFleet {
  readonly database: TestDatabase;
  /** All that ever ran. */
  readonly started: readonly GatewayProcess[];
  /** One more; `env` on top of what all of them have. */
  readonly start: (env?: Environment) => Promise<GatewayProcess>;
  /** Kills those that still run, and leaves nothing behind. */
  readonly stop: () => Promise<void>;
}

/** None of them runs yet. */
export async function createFleet(ofAll: Environment): Promise<GatewayFleet> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-fleet-'));
  const database = await createTestDatabase();
  const started: GatewayProcess[] = [];
  return {
    database,
    started,
    async start(env = {}) {
      const own = { TALOS_GATEWAY_PORT: '0', TALOS_DATA_DIR: folder, DATABASE_URL: database.url };
      const gateway = await startGatewayProcess({ cwd: folder, env: { ...ofAll, ...own, ...env } });
      started.push(gateway);
      return gateway;
    },
    async stop() {
      for (const { child } of started) child.kill('SIGKILL');
      await Promise.all(started.map(({ ended }) => ended()));
      await database.drop();
      await rm(folder, { recursive: true });
    },
  };
}
