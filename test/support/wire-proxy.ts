/**
 * A way to PostgreSQL that understands its protocol: it knows which step of a batch each connection is at, and a test
 * may act just before a step reaches the server, in the midst of it, and when the server has done it but nobody was told.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type DatabaseTarget, rerouted } from './rerouted.ts';

/** The queries of a log writer, in their order. All from `edge` on but `commit` are sent only when they are needed. */
export const writerSteps = [
  'connect',
  'durability',
  'limits',
  'tidy',
  'prepare',
  'lock',
  'edge',
  'room',
  'commit',
  'release',
  'read',
] as const;
export type Step = (typeof writerSteps)[number] | 'other';
export type When = 'before' | 'midway' | 'sent' | 'after';

/**
 * `cut` ends the connection on both sides. `hold` passes nothing more in either direction and tells nobody; the server
 * does not hear either when the client leaves. `half` sends half of the request and then holds. What was `sent` before
 * a cut is still heard by the server.
 */
export type Action = 'pass' | 'cut' | 'hold' | 'half';

export interface Link {
  /** The application name of the connection, and the database that it is for. */
  readonly name: string;
  readonly database: string;
  /** What the server has been asked and not yet answered, or else `idle`. */
  readonly asked: Step | 'idle';
  /** The server said that a transaction is open, and has not said since that it ended. */
  readonly inTransaction: boolean;
  readonly isOpen: boolean;
  /** Lets a held connection go on. */
  readonly release: () => void;
}

export interface WireProxy {
  /** The same database by this way. */
  readonly urlOf: (databaseUrl: string) => string;
  readonly links: () => Link[];
  readonly close: () => Promise<void>;
}

/**
 * Asked at every step of every connection what to do with it. `midway` and `sent` are moments of a commit: the whole of
 * it is at hand; the whole of it is on its way to the server.
 */
export type OnStep = (moment: { readonly step: Step; readonly when: When; readonly link: Link }) => Action;

export async function startWireProxy(onStep: OnStep): Promise<WireProxy> {
  const links = new Set<WireLink>();
  let target: DatabaseTarget | undefined;
  let database = '';
  // Another test's client may look for its server at a port that was given to this one since.
  const onStepOfOurs: OnStep = (moment) => (moment.link.database === database ? onStep(moment) : 'cut');
  const server = createServer((near) => {
    if (target === undefined) throw new Error('nobody said where the database is');
    const link = new WireLink(near, connect(target), onStepOfOurs, () => links.delete(link));
    links.add(link);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    urlOf(databaseUrl) {
      const way = rerouted(databaseUrl, port);
      target = way.target;
      database = new URL(databaseUrl).pathname.slice(1);
      return way.url;
    },
    links: () => [...links],
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const link of links) link.cut();
      await closed;
    },
  };
}

class WireLink implements Link {
  name = '';
  database = '';
  asked: Step | 'idle' = 'idle';
  inTransaction = false;
  isOpen = true;
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #onStep: OnStep;
  #fromNear: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #fromFar: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #isStarted = false;
  #isHeld = false;
  /** What is left of a request of which half was sent. */
  #rest: Buffer | undefined;

  constructor(near: Socket, far: Socket, onStep: OnStep, onClosed: () => void) {
    this.#near = near;
    this.#far = far;
    this.#onStep = onStep;
    for (const socket of [near, far]) socket.setNoDelay().on('error', () => undefined);
    near.on('data', (chunk) => {
      this.#fromNear = Buffer.concat([this.#fromNear, chunk]);
      this.#passRequests();
    });
    far.on('data', (chunk) => {
      this.#fromFar = Buffer.concat([this.#fromFar, chunk]);
      this.#passAnswers();
    });
    // A held network tells the server nothing.
    near.once('close', () => this.#isHeld || far.writableEnded || far.destroy());
    far.once('close', () => {
      this.isOpen = false;
      this.inTransaction = false;
      near.destroy();
      onClosed();
    });
  }

  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (this.#rest !== undefined) this.#far.write(this.#rest);
    this.#rest = undefined;
    this.#passAnswers();
    this.#passRequests();
    if (this.#near.destroyed) this.#far.destroy();
  }

  cut(): void {
    this.isOpen = false;
    this.#near.destroy();
    this.#far.destroy();
  }

  #passRequests(): void {
    while (!this.#isHeld && this.isOpen) {
      const length = this.#requestLength();
      if (length === undefined) return;
      const request = this.#fromNear.subarray(0, length);
      this.#fromNear = this.#fromNear.subarray(length);
      this.#passRequest(request);
    }
  }

  #passRequest(request: Buffer): void {
    const step = this.#stepOf(request);
    if (step === undefined) {
      this.#far.write(request);
      return;
    }
    if (this.#act({ step, when: 'before' }, request)) return;
    if (step === 'commit' && this.#act({ step, when: 'midway' }, request)) return;
    this.asked = step;
    this.#far.write(request);
    if (step === 'commit' && this.#onStep({ step, when: 'sent', link: this }) === 'cut') this.#leave();
  }

  /** The client is gone; what it sent is not. */
  #leave(): void {
    this.isOpen = false;
    this.#far.end();
    this.#near.destroy();
  }

  /** True when the test has the request now. */
  #act(moment: { step: Step; when: When }, request: Buffer): boolean {
    const action = this.#onStep({ ...moment, link: this });
    if (action === 'pass') return false;
    if (action === 'cut') this.cut();
    else this.#hold(moment.step, request, action === 'half' ? Math.floor(request.length / 2) : 0);
    return true;
  }

  #hold(step: Step, request: Buffer, sent: number): void {
    this.#isHeld = true;
    if (sent > 0) this.#far.write(request.subarray(0, sent));
    this.#rest = request.subarray(sent);
    this.asked = step;
  }

  #passAnswers(): void {
    while (!this.#isHeld && this.isOpen && this.#fromFar.length >= 5) {
      const length = 1 + this.#fromFar.readUInt32BE(1);
      if (this.#fromFar.length < length) return;
      const message = this.#fromFar.subarray(0, length);
      if (message[0] === code('Z') && !this.#isAnswered(message)) return;
      this.#fromFar = this.#fromFar.subarray(length);
      this.#near.write(message);
    }
  }

  /** The server is ready for the next query: what was asked is done, and the answer may go on. */
  #isAnswered(ready: Buffer): boolean {
    this.inTransaction = ready[5] !== code('I');
    if (this.asked === 'idle') return true;
    const step = this.asked;
    this.asked = 'idle';
    const action = this.#onStep({ step, when: 'after', link: this });
    if (action === 'cut') this.cut();
    if (action === 'hold') this.#isHeld = true;
    return action === 'pass';
  }

  /** Length of the next request: one message, or a COPY with all of its data. */
  #requestLength(): number | undefined {
    const data = this.#fromNear;
    if (!this.#isStarted)
      return data.length >= 4 && data.length >= data.readUInt32BE(0) ? data.readUInt32BE(0) : undefined;
    const first = messageEnd(data, 0);
    if (first === undefined || data[0] !== code('Q') || !isCopy(data)) return first;
    for (let from: number | undefined = first; from !== undefined; ) {
      const end = messageEnd(data, from);
      if (end !== undefined && data[from] === code('c')) return end;
      from = end;
    }
    return undefined;
  }

  /** The step that the request begins; undefined for what belongs to one that has begun. */
  #stepOf(request: Buffer): Step | undefined {
    if (!this.#isStarted) {
      this.#isStarted = true;
      const text = request.toString('latin1');
      this.name = /application_name\0([^\0]*)/.exec(text)?.[1] ?? '';
      this.database = /database\0([^\0]*)/.exec(text)?.[1] ?? '';
      return 'connect';
    }
    if (request[0] !== code('Q') && request[0] !== code('P')) return undefined;
    const text = request.subarray(5, 4_096).toString('latin1');
    return queries.find(([, pattern]) => pattern.test(text))?.[0] ?? 'other';
  }
}

// With the head that the writer left, it is locked by the same message.
const copies = /^(?:BEGIN; EXECUTE lock_known_head .*; )?SET LOCAL talos\.head/;

const queries: readonly (readonly [Step, RegExp])[] = [
  ['commit', copies],
  ['durability', /set_config\('synchronous_commit'/],
  ['limits', /^SET idle_in_transaction/],
  ['tidy', /^DELETE FROM log_writer/],
  ['prepare', /^\s*PREPARE lock_head/],
  ['lock', /^BEGIN; EXECUTE lock_head/],
  ['edge', /leaf_hash AS hash FROM audit_event|root AS hash FROM log_tile/],
  ['room', /log_extend/],
  ['read', /FROM audit_event WHERE seq = ANY/],
  ['release', /^(?:COMMIT|ROLLBACK)/],
];

function isCopy(data: Buffer): boolean {
  return copies.test(data.subarray(5, 4_096).toString('latin1'));
}

function messageEnd(data: Buffer, from: number): number | undefined {
  if (data.length < from + 5) return undefined;
  const end = from + 1 + data.readUInt32BE(from + 1);
  return data.length < end ? undefined : end;
}

function code(letter: string): number {
  return letter.charCodeAt(0);
}
