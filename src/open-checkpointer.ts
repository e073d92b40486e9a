/** The signer of checkpoints as the configuration describes it: for the gateway, and for the commands about its log. */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createAnchors } from './audit/anchors.ts';
import { type Checkpointer, type CheckpointerOptions, createCheckpointer } from './audit/checkpointer.ts';
import { type LogKey, type LogKeyOptions, openLogKey } from './audit/log-key.ts';
import { createWitnesses } from './audit/witnesses.ts';
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import type { CheckpointStore } from './storage/checkpoints.ts';
import type { TileReader } from './storage/tiles.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface OpenOptions {
  readonly config: Config;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly store: CheckpointStore;
  readonly tiles: TileReader;
}

/**
 * Opens the key and makes sure that the database continues what was signed. Throws an `Error` with one sentence.
 * `change` replaces what the configuration says, such as the key.
 */
export async function openCheckpointer(
  options: OpenOptions,
  change: Partial<CheckpointerOptions> = {},
): Promise<Checkpointer> {
  const { config, telemetry, clock, store, tiles } = options;
  const outside = { fetch, clock, telemetry };
  return await createCheckpointer({
    key: change.key ?? (await openConfiguredKey(options)),
    store,
    tiles,
    file: join(config.dataDir, 'log.checkpoint'),
    intervalMs: bounds.checkpointIntervalMs,
    clock,
    telemetry,
    production: config.mode === 'production',
    witnesses:
      config.logWitnesses.length === 0
        ? undefined
        : createWitnesses({
            ...outside,
            witnesses: config.logWitnesses,
            quorum: config.logWitnessQuorum,
            nodes: tiles.nodes,
          }),
    anchors:
      config.logAnchorFiles.length + config.logAnchorUrls.length === 0
        ? undefined
        : createAnchors({
            ...outside,
            files: config.logAnchorFiles,
            urls: config.logAnchorUrls,
            intervalMs: config.logAnchorIntervalMs,
          }),
    ...change,
  });
}

/** The key that the configuration names; made when the log has none. */
export async function openConfiguredKey(options: OpenOptions): Promise<LogKey> {
  const { config, store } = options;
  await mkdir(config.dataDir, { recursive: true });
  return await openLogKey({
    ...keySource(options),
    origin: config.logOrigin,
    freshOrigin: `talos.invalid/audit/${randomUUID()}`,
    store,
  });
}

/** Where the configuration says that the key is, and how strictly it is guarded. */
export function keySource({
  config,
  telemetry,
}: Pick<OpenOptions, 'config' | 'telemetry'>): Pick<LogKeyOptions, 'source' | 'strict' | 'warn'> {
  const { logKeyCommand: command } = config;
  return {
    source: command === undefined ? { file: config.logKeyFile ?? join(config.dataDir, 'log.key') } : { command },
    strict: config.mode === 'production',
    warn: (sentence) => telemetry.log.warn(sentence),
  };
}
