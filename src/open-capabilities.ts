/** Capabilities as the configuration describes them: who is trusted, what is revoked, and what this gateway may issue. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { didKeyFromPublicKey, didSet } from './core/did.ts';
import { describeError } from './core/errors.ts';
import type { Issuer } from './gateway/capabilities.ts';
import { createArgumentSchemas } from './mcp/tools/argument-schema.ts';
import { CapabilityVerifier } from './policy/capability-verifier.ts';
import type { SchemaCompiler } from './policy/constraints.ts';
import { RevocationFeed } from './policy/revocation-feed.ts';
import type { DatabaseAddress } from './storage/db.ts';
import { createRevocationReader } from './storage/revocations.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface Capabilities {
  readonly verifier: CapabilityVerifier;
  readonly feed: RevocationFeed;
  readonly compileSchema: SchemaCompiler;
  /** Absent when the gateway issues none. */
  readonly issuer: Issuer | undefined;
  readonly close: () => Promise<void>;
}

export interface OpenCapabilitiesOptions {
  readonly config: Pick<Config, 'trustedIssuers' | 'issuerKeyFile'>;
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'log'>;
}

/** Resolves when all revocations up to now are known. Throws an `Error` with one sentence. */
export async function openCapabilities(
  { config, clock, telemetry }: OpenCapabilitiesOptions,
  database: DatabaseAddress,
): Promise<Capabilities> {
  const issuer = config.issuerKeyFile === undefined ? undefined : await readIssuer(config.issuerKeyFile);
  const reader = createRevocationReader(database, () => void feed.asked());
  const feed: RevocationFeed = new RevocationFeed({
    after: reader.after,
    clock,
    log: telemetry.log,
    pollMs: bounds.revocationPollMs,
    keptAfterEndSec: bounds.revocationKeptAfterEndSec,
    ageMsMax: bounds.revocationAgeMsMax,
  });
  const close = async () => {
    await feed.close();
    await reader.close();
  };
  try {
    await feed.start();
  } catch (error) {
    await close();
    throw error;
  }
  const compileSchema = createArgumentSchemas();
  const trustedIssuers = didSet(config.trustedIssuers);
  const verifier = new CapabilityVerifier({ trustedIssuers, clock, revocations: feed, compileSchema });
  return { verifier, feed, compileSchema, issuer, close };
}

async function readIssuer(file: string): Promise<Issuer> {
  try {
    const privateKey = createPrivateKey(await readFile(file));
    return { privateKey, did: didKeyFromPublicKey(createPublicKey(privateKey)) };
  } catch (error) {
    throw new Error(`The issuer key ${file} cannot be used: ${describeError(error)}`);
  }
}
