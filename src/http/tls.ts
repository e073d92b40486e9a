/** TLS from certificate and key files, read again when they change: a renewed certificate needs no restart. */
import { unwatchFile, watchFile } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:https';
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import type { App } from './fastify.ts';

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export async function readTls(files: TlsFiles): Promise<TlsMaterial> {
  const [cert, key] = await Promise.all([readFile(files.certFile), readFile(files.keyFile)]);
  return { cert, key };
}

// Polling also sees a file that is replaced by renaming, and a link that is pointed elsewhere, as secret mounts do.
/** Follows the files; a pair that does not fit is refused with a warning and the old one stays. Returns how to stop. */
export function followTls(
  app: App,
  files: TlsFiles,
  log: { info: (message: string) => void; warn: (message: string) => void },
): () => void {
  const server = app.server as unknown as Server;
  const reload = async () => {
    try {
      server.setSecureContext(await readTls(files));
      log.info('the TLS certificate was read again');
    } catch (error) {
      log.warn(`the changed TLS certificate cannot be used, the previous one stays: ${describeError(error)}`);
    }
  };
  const watched = [files.certFile, files.keyFile];
  for (const file of watched) watchFile(file, { interval: bounds.tlsPollMs, persistent: false }, () => void reload());
  return () => {
    for (const file of watched) unwatchFile(file);
  };
}
