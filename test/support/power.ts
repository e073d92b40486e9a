/**
 * A disk that can lose power: an ext4 file system of its own, which is shut down without writing its journal or anything
 * that was not synced, as ext4 offers for this (EXT4_IOC_SHUTDOWN). What the kernel had written by itself until then stays.
 * For root of a Linux system.
 */
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, later } from './embedded.ts';

export interface PowerDisk {
  readonly folder: string;
  /** From now on nothing reaches the disk, and every sync fails. */
  readonly cut: () => void;
  /** Mounts what the disk had. Nobody may have a file open. */
  readonly restore: () => Promise<void>;
}

// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
const shutdown =
  'open(my $folder, "<", $ARGV[0]) or die $!; my $how = pack("L", 2); ioctl($folder, 0x8004587d, $how) or die $!';

/** It is unmounted by `cleanUp`. */
export async function openPowerDisk(within: string, mib: number): Promise<PowerDisk> {
  const image = join(within, 'disk.img');
  const folder = join(within, 'disk');
  const file = await open(image, 'w');
  await file.truncate(mib * 2 ** 20);
  await file.close();
  execFileSync('mkfs.ext4', ['-q', image]);
  await mkdir(folder);
  const mount = () => execFileSync('mount', ['-o', 'loop', image, folder]);
  mount();
  // Lazily: what a process of a failed test still holds open must not keep it.
  later(() => execFileSync('umount', ['--lazy', folder]));
  await chmod(folder, 0o755);
  execFileSync('sync', ['-f', folder]);
  return {
    folder,
    cut: () => void execFileSync('perl', ['-e', shutdown, folder]),
    async restore() {
      await eventually('nobody uses the disk', () => {
        try {
          execFileSync('umount', [folder], { stdio: 'ignore' });
          return true;
        } catch {
          return false;
        }
      });
      mount();
    },
  };
}
