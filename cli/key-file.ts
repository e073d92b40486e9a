/** Ed25519 keys in PKCS#8 PEM files that only their owner can read. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { UsageError } from './usage-error.ts';

const ownerOnly = 0o600;

/** Makes a key and writes it to a new file; refuses to touch a file that exists. Returns the public half. */
export async function createKeyFile(path: string): Promise<KeyObject> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  try {
    await writeFile(path, pem, { flag: 'wx', mode: ownerOnly, flush: true });
  } catch (error) {
    throw explainFile(error, path);
  }
  return publicKey;
}

/** The private key in a file. */
export async function readKeyFile(path: string): Promise<KeyObject> {
  const key = parseKey(await readText(path));
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw new UsageError(`${path} holds no Ed25519 private key in PEM; \`talos keys create\` makes one.`);
  }
  return key;
}

/** Whether others than the owner may read the file. Always false where files have no such modes. */
export async function isReadableByOthers(path: string): Promise<boolean> {
  if (process.platform === 'win32') return false;
  return ((await stat(path)).mode & 0o077) !== 0;
}

function parseKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    // The library's sentence speaks of decoders; the caller's says what the file should be.
    return undefined;
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw explainFile(error, path);
  }
}

const fileFaults: Readonly<Record<string, string>> = {
  EEXIST: 'exists already; choose another file, keys are never overwritten.',
  ENOENT: 'does not exist, or its folder does not.',
  ENOTDIR: 'lies under something that is not a folder.',
  EACCES: 'is closed to this user.',
  EPERM: 'is closed to this user.',
  EISDIR: 'is a folder.',
  ENOSPC: 'cannot be written: the disk is full.',
  EROFS: 'cannot be written: the file system is read-only.',
};

function explainFile(error: unknown, path: string): Error {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new UsageError(`${path} ${fileFaults[code] ?? `cannot be used (${code}).`}`);
}
