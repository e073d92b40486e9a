/** The spool on disk: what it gives back after a crash at any byte, and what it never accepts. */
import { appendFile, chmod, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Segment, SpoolFolder } from '../../src/audit/spool-file.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-spool-'));
});

afterEach(() => rm(folder, { recursive: true }));

const open = (more: { bytesMax?: number; segmentBytesMax?: number } = {}) =>
  SpoolFolder.open({ folder, bytesMax: 1_000_000, segmentBytesMax: 1_000_000, ...more });

const groupsOf = (segment: Segment | undefined) => segment?.groups.map(String);
const names = async () => (await readdir(folder)).sort();

async function filled(...groups: string[]): Promise<string> {
  const spool = await open();
  for (const group of groups) await spool.append(Buffer.from(group));
  await spool.close();
  const [name] = await names();
  return join(folder, name ?? '');
}

/** Everything that a process which starts now finds, oldest first. */
async function found(): Promise<{ groups: string[]; ends: string[] }> {
  const spool = await open();
  const groups: string[] = [];
  const ends: string[] = [];
  for (let segment = await spool.oldest(); segment !== undefined; segment = await spool.oldest()) {
    groups.push(...segment.groups.map(String));
    ends.push(segment.end.state);
    await segment.remove();
  }
  await spool.close();
  return { groups, ends };
}

describe('the spool on disk', () => {
  it('gives back what it accepted, in order, and is empty afterwards', async () => {
    const spool = await open();
    expect(spool.isEmpty).toBe(true);
    await Promise.all(['a', '', 'c\0', 'ü'].map((text) => spool.append(Buffer.from(text))));
    expect(spool.isEmpty).toBe(false);
    const segment = await spool.oldest();
    expect(groupsOf(segment)).toEqual(['a', '', 'c\0', 'ü']);
    expect(segment?.end).toEqual({ state: 'whole', bytes: 0 });
    await segment?.remove();
    expect(spool.isEmpty).toBe(true);
    expect(spool.bytes).toBe(0);
    expect(await spool.oldest()).toBeUndefined();
    expect(await names()).toEqual([]);
    await spool.close();
  });

  it('takes appends while its oldest segment is drained, and keeps them behind it', async () => {
    const spool = await open();
    await spool.append(Buffer.from('1'));
    const [first] = await Promise.all([spool.oldest(), spool.append(Buffer.from('2')), spool.append(Buffer.from('3'))]);
    await first?.remove();
    const rest: string[] = [];
    for (let segment = await spool.oldest(); segment !== undefined; segment = await spool.oldest()) {
      rest.push(...segment.groups.map(String));
      await segment.remove();
    }
    expect([...(groupsOf(first) ?? []), ...rest]).toEqual(['1', '2', '3']);
    await spool.close();
  });

  it('is for its owner alone', async () => {
    const path = await filled('a');
    expect((await stat(path)).mode & 0o077).toBe(0);
  });

  it('begins a new segment when one is full', async () => {
    const spool = await open({ segmentBytesMax: 101 });
    for (let n = 0; n < 5; n++) await spool.append(Buffer.alloc(50, String(n)));
    await spool.close();
    expect((await names()).length).toBe(3);
    expect((await found()).groups.map((text) => text[0])).toEqual(['0', '1', '2', '3', '4']);
  });

  it('refuses what would pass its size, and accepts again when there is room', async () => {
    const spool = await open({ bytesMax: 200 });
    await spool.append(Buffer.alloc(100));
    await expect(spool.append(Buffer.alloc(100))).rejects.toThrow('takes no more');
    expect((await spool.oldest())?.groups).toHaveLength(1);
    await (await spool.oldest())?.remove();
    await spool.append(Buffer.alloc(100));
    await spool.close();
  });

  it('never appends to what an earlier process left', async () => {
    const path = await filled('a');
    const before = await readFile(path);
    const spool = await open();
    await spool.append(Buffer.from('b'));
    await spool.close();
    expect(await readFile(path)).toEqual(before);
    expect((await found()).groups).toEqual(['a', 'b']);
  });
});

describe('a crash in the middle of a write', () => {
  it('at any byte leaves what was accepted, and nothing of the rest', async () => {
    const path = await filled('first', 'second', 'third');
    const whole = await readFile(path);
    for (let size = 0; size <= whole.length; size++) {
      await writeFile(path, whole.subarray(0, size));
      const { groups, ends } = await found();
      const count = groups.length;
      expect(groups).toEqual(['first', 'second', 'third'].slice(0, count));
      const ended = 14 + [0, 41, 83, 124].reduce((sum, each, index) => (index === count ? each : sum), 0);
      expect(ends).toEqual([size === 0 || size === ended ? 'whole' : 'torn']);
    }
  });

  it('leaves a file that was only lengthened', async () => {
    const path = await filled('first');
    await truncate(path, 4096);
    expect(await found()).toEqual({ groups: ['first'], ends: ['torn'] });
  });
});

describe('damage', () => {
  it.each([
    ['in the first group', 14 + 36 + 2, []],
    ['in the second group', 14 + 41 + 36, ['first']],
    ['in a checksum', 14 + 41 + 10, ['first']],
    ['in the header', 3, []],
  ])('%s is told from a torn end, and the segment can be set aside', async (_, at, intact) => {
    const path = await filled('first', 'second', `third${'x'.repeat(100)}`);
    const bytes = await readFile(path);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    await writeFile(path, bytes);
    const spool = await open();
    const segment = await spool.oldest();
    expect(groupsOf(segment)).toEqual(intact);
    expect(segment?.end.state).toBe('damaged');
    await segment?.setAside();
    expect(await names()).toEqual([`${path.split('/').at(-1)}.damaged`]);
    expect(spool.isEmpty).toBe(true);
    await spool.close();
  });

  it('in a segment does not touch the next one', async () => {
    const path = await filled('a');
    await filled('b');
    await appendFile(path, Buffer.alloc(100, 1));
    expect((await found()).groups).toEqual(['a', 'b']);
  });
});

describe('a disk that fails', () => {
  it.skipIf(process.getuid?.() === 0)('accepts nothing, and goes on when it works again', async () => {
    const spool = await open();
    await chmod(folder, 0o500);
    await expect(spool.append(Buffer.from('a'))).rejects.toThrow(/EACCES/);
    expect(spool.isEmpty).toBe(true);
    await chmod(folder, 0o700);
    await spool.append(Buffer.from('b'));
    await spool.close();
    expect((await found()).groups).toEqual(['b']);
  });

  it('that is gone accepts nothing', async () => {
    const spool = await open();
    await rm(folder, { recursive: true });
    await expect(spool.append(Buffer.from('a'))).rejects.toThrow(/ENOENT/);
    expect(spool.isEmpty).toBe(true);
    await spool.close();
    folder = await mkdtemp(join(tmpdir(), 'talos-spool-'));
  });
});
