/** The issuer key of a gateway that somebody tries out: kept in its data folder, made on first use. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { grantCapability } from '../src/core/capability-grant.ts';
import type { Clock } from '../src/core/clock.ts';
import { didKeyFromPublicKey } from '../src/core/did.ts';
import { createKeyFile, readKeyFile } from './key-file.ts';

export interface LocalIssuer {
  readonly did: string;
  readonly privateKey: KeyObject;
}

export function issuerKeyPath(dataDir: string): string {
  return join(dataDir, 'issuer.pem');
}

/** Makes the key when there is none. */
export async function ensureLocalIssuer(dataDir: string): Promise<LocalIssuer> {
  await mkdir(dataDir, { recursive: true });
  if (!(await exists(issuerKeyPath(dataDir)))) await createKeyFile(issuerKeyPath(dataDir));
  return await readLocalIssuer(issuerKeyPath(dataDir));
}

/** Throws a `UsageError` when the file holds no key. */
export async function readLocalIssuer(path: string): Promise<LocalIssuer> {
  const privateKey = await readKeyFile(path);
  return { did: didKeyFromPublicKey(createPublicKey(privateKey)), privateKey };
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

/** A capability for `subject`, valid for `ttlSec` from now. */
export function grantLocally(
  issuer: LocalIssuer,
  clock: Clock,
  grant: { readonly subject: string; readonly scope: string; readonly ttlSec: number },
): string {
  return grantCapability({
    privateKey: issuer.privateKey,
    issuer: issuer.did,
    nowSec: Math.floor(clock.now() / 1000),
    ...grant,
  });
}
