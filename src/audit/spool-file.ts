/**
 * The spool on disk: groups of events that wait for the log, in segments that are only ever appended to, each group with
 * its length and checksum before it. A group is accepted once it is synced. After a crash the end of the newest segment
 * may hold half a group that nobody was told of: it fails its checksum and is cut off.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '../core/errors.ts';
import { OneAtATime } from '../core/one-at-a-time.ts';

export interface SpoolFolderOptions {
  /** An existing folder that nobody else uses. */
  readonly folder: string;
  /** All segments together. */
  readonly bytesMax: number;
  /** A segment that has as many gets no more groups. */
  readonly segmentBytesMax: number;
}

/** A segment that takes no more groups. */
export interface Segment {
  readonly name: string;
  /** The groups in the order in which they were appended. */
  readonly groups: readonly Buffer[];
  /** What is left at the end: nothing, half of a group that was never accepted, or bytes that were damaged since. */
  readonly end: { readonly state: 'whole' | 'torn' | 'damaged'; readonly bytes: number };
  readonly remove: () => Promise<void>;
  /** Keeps it as `<name>.damaged`, for people; it is not read again. */
  readonly setAside: () => Promise<void>;
}

class SpoolFull extends Error {
  override readonly name = 'SpoolFull';
}

interface Waiting {
  readonly frame: Buffer;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface OpenSegment {
  readonly name: string;
  readonly handle: FileHandle;
  bytes: number;
}

const header = Buffer.from('talos-spool 1\n');
const namePattern = /^(\d{12})\.spool$/;
const hashBytes = 32;
const frameHeadBytes = 4 + hashBytes;

export class SpoolFolder {
  readonly #options: SpoolFolderOptions;
  /** Segments that hold something, oldest first, with their sizes. */
  readonly #segments: Map<string, number>;
  #nextNumber: number;
  #active: OpenSegment | undefined;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  /** Steps on the active segment. */
  readonly #steps = new OneAtATime();

  private constructor(options: SpoolFolderOptions, segments: Map<string, number>) {
    this.#options = options;
    this.#segments = segments;
    this.#nextNumber = Math.max(0, ...[...segments.keys()].map(numberOf)) + 1;
  }

  /** Finds what earlier processes left. They are never appended to. */
  static async open(options: SpoolFolderOptions): Promise<SpoolFolder> {
    const names = (await readdir(options.folder)).filter((name) => namePattern.test(name)).sort();
    const segments = new Map<string, number>();
    for (const name of names) segments.set(name, (await stat(join(options.folder, name))).size);
    return new SpoolFolder(options, segments);
  }

  /** Nothing is kept and nothing is being written. */
  get isEmpty(): boolean {
    return this.#segments.size === 0 && this.#waitingBytes === 0;
  }

  /** Bytes of all segments and of what is being written. */
  get bytes(): number {
    return [...this.#segments.values()].reduce((sum, size) => sum + size, this.#waitingBytes);
  }

  /** Resolves once the group is on disk. Rejects with `SpoolFull`, or with the system's error and nothing accepted. */
  append(group: Buffer): Promise<void> {
    const frame = frameOf(group);
    if (this.bytes + header.length + frame.length > this.#options.bytesMax) {
      return Promise.reject(new SpoolFull(`the spool holds ${this.bytes} bytes and takes no more`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ frame, resolve, reject });
      this.#waitingBytes += frame.length;
      this.#writing ??= this.#write();
    });
  }

  /** The oldest segment, from now on closed to appends; undefined when there is none. */
  async oldest(): Promise<Segment | undefined> {
    const [name] = this.#segments.keys();
    if (name === undefined) return undefined;
    await this.#steps.run(async () => {
      if (this.#active?.name === name) await this.#closeActive();
    });
    return { name, ...(await readSegment(join(this.#options.folder, name))), ...this.#ends(name) };
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#closeActive();
  }

  #ends(name: string): Pick<Segment, 'remove' | 'setAside'> {
    const { folder } = this.#options;
    const path = join(folder, name);
    const forget = async (step: Promise<void>) => {
      await step;
      await syncFolder(folder);
      this.#segments.delete(name);
    };
    return { remove: () => forget(rm(path)), setAside: () => forget(rename(path, `${path}.damaged`)) };
  }

  /** All that waits shares one write and one sync. */
  async #write(): Promise<void> {
    // Yield once, so that events of requests that arrived in the same turn share them too.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const taken = this.#waiting.splice(0);
      const data = Buffer.concat(taken.map(({ frame }) => frame));
      try {
        await this.#steps.run(() => this.#store(data));
        this.#waitingBytes -= data.length;
        for (const { resolve } of taken) resolve();
      } catch (error) {
        this.#waitingBytes -= data.length;
        for (const { reject } of taken) reject(error);
      }
    }
    this.#writing = undefined;
  }

  async #store(data: Buffer): Promise<void> {
    const active = await this.#activeSegment();
    try {
      await writeAll(active.handle, data);
      await active.handle.datasync();
      active.bytes += data.length;
      this.#segments.set(active.name, active.bytes);
    } catch (error) {
      await this.#giveUp(active);
      throw error;
    }
  }

  async #activeSegment(): Promise<OpenSegment> {
    if (this.#active !== undefined && this.#active.bytes < this.#options.segmentBytesMax) return this.#active;
    await this.#closeActive();
    const name = `${String(this.#nextNumber++).padStart(12, '0')}.spool`;
    const handle = await open(join(this.#options.folder, name), 'wx', 0o600);
    this.#active = { name, handle, bytes: header.length };
    try {
      await writeAll(handle, header);
      await syncFolder(this.#options.folder);
    } catch (error) {
      await this.#giveUp(this.#active);
      throw error;
    }
    return this.#active;
  }

  /**
   * After an error nobody knows what of the last write is on disk, and syncing the same descriptor again would claim
   * that all of it is. What was not accepted is cut off by another one, and a new segment takes what comes next.
   */
  async #giveUp(broken: OpenSegment): Promise<void> {
    this.#active = undefined;
    await broken.handle.close().catch(() => undefined);
    const path = join(this.#options.folder, broken.name);
    if (!this.#segments.has(broken.name)) await rm(path, { force: true }).catch(() => undefined);
    else await truncateDurably(path, broken.bytes).catch(() => undefined);
  }

  async #closeActive(): Promise<void> {
    const active = this.#active;
    this.#active = undefined;
    await active?.handle.close();
  }
}

function numberOf(name: string): number {
  return Number(namePattern.exec(name)?.[1]);
}

/** Length, checksum, group. */
function frameOf(group: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(group.length);
  return Buffer.concat([head, checksum(group), group]);
}

function checksum(group: Buffer): Buffer {
  return createHash('sha256').update(group).digest();
}

async function writeAll(handle: FileHandle, data: Buffer): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await handle.write(data, done);
    if (bytesWritten === 0) throw new Error('nothing more could be written to the spool');
    done += bytesWritten;
  }
}

async function truncateDurably(path: string, bytes: number): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.truncate(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readSegment(path: string): Promise<Pick<Segment, 'groups' | 'end'>> {
  const data = await readFile(path).catch((error: unknown) => {
    throw new Error(`The spool segment ${path} cannot be read: ${describeError(error)}`);
  });
  const groups: Buffer[] = [];
  const isOurs = data.subarray(0, header.length).equals(header);
  let at = isOurs ? header.length : 0;
  for (let group = isOurs ? groupAt(data, at) : undefined; group !== undefined; group = groupAt(data, at)) {
    groups.push(group);
    at += frameHeadBytes + group.length;
  }
  return { groups, end: { state: stateOf(data.subarray(at), isOurs), bytes: data.length - at } };
}

/** The group whose frame begins there, if it is whole. */
function groupAt(data: Buffer, at: number): Buffer | undefined {
  const start = at + frameHeadBytes;
  if (start > data.length) return undefined;
  const length = data.readUInt32BE(at);
  if (start + length > data.length) return undefined;
  const group = data.subarray(start, start + length);
  return checksum(group).equals(data.subarray(at + 4, start)) ? group : undefined;
}

/** A write that a crash cut short ends the file. Whatever follows bytes that are not whole was there before them. */
function stateOf(rest: Buffer, isOurs: boolean): Segment['end']['state'] {
  if (rest.length === 0) return 'whole';
  if (!isOurs) return header.subarray(0, rest.length).equals(rest) || isBlank(rest) ? 'torn' : 'damaged';
  const reachesEnd = rest.length < 4 || frameHeadBytes + rest.readUInt32BE(0) >= rest.length;
  return reachesEnd || isBlank(rest) ? 'torn' : 'damaged';
}

// Some file systems lengthen a file before they write to it.
function isBlank(rest: Buffer): boolean {
  return rest.every((byte) => byte === 0);
}
