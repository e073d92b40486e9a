/**
 * A volume that can be filled to its last byte and emptied again: a file system in memory, mounted for one test. Only root
 * may mount; elsewhere tests that need one are skipped with that as the reason, and in CI they fail.
 */
import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';

export interface SmallVolume {
  readonly folder: string;
  /** Takes all the room that is left. */
  readonly fill: () => Promise<void>;
  /** Gives it back. */
  readonly free: () => Promise<void>;
  /** Harmless when it was done before. */
  readonly unmount: () => Promise<void>;
}

const chunk = Buffer.alloc(64 * 1024);
const isSkipped = !(process.platform === 'linux' && process.getuid?.() === 0) && !process.env['CI'];

/** `describe` for tests that need such a volume. */
export function describeOnSmallVolume(name: string, tests: () => void): void {
  describe.skipIf(isSkipped)(isSkipped ? `${name} (only root of a Linux system may mount one)` : name, tests);
}

/** The caller unmounts it. */
export async function mountSmallVolume(kib: number): Promise<SmallVolume> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-volume-'));
  // Root's database server runs as another user.
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kib}k,mode=755`, 'talos-test', folder]);
  await chmod(folder, 0o755);
  const filler = join(folder, 'filler');
  let isMounted = true;
  return {
    folder,
    fill: () => fill(filler),
    free: () => rm(filler, { force: true }),
    async unmount() {
      if (!isMounted) return;
      isMounted = false;
      // Lazily: what a process of a failed test still holds open must not keep it.
      execFileSync('umount', ['--lazy', folder]);
      await rm(folder, { recursive: true });
    },
  };
}

async function fill(path: string): Promise<void> {
  const handle = await open(path, 'a');
  try {
    // By ever less, as a write that does not fit as a whole is not made in part everywhere.
    for (let length = chunk.length; length > 0; ) {
      const written = await handle.write(chunk.subarray(0, length)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOSPC') throw error;
      });
      if (written === undefined) length = Math.floor(length / 2);
    }
  } finally {
    await handle.close();
  }
}
