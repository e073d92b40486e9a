/** Small file operations that are on the disk, not only in the kernel's memory, when they return. */
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Replaces `path` with `text` as a whole: after a crash there is the old text or the new one. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const draft = `${path}.new`;
  const file = await open(draft, 'w', 0o644);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await renameDurably(draft, path);
}

/** Renames within one file system. What `from` holds must have reached the disk before. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  const folder = await open(dirname(to), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
