/** A way to a PostgreSQL server that loses a connection at a chosen moment of a commit, as a network would. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type DatabaseTarget, rerouted } from './rerouted.ts';

/**
 * `before`: nothing of the rows and the COMMIT reaches the server. `midway`: half of it does. `reply`: the server commits
 * and its answer is lost. `race`: the client is cut off as soon as all has been sent, while the server still works.
 * `silence`: from the lock on the server hears nothing more, and nobody is told.
 */
export type Cut = 'before' | 'midway' | 'reply' | 'race' | 'silence';

export interface CommitCutter {
  /** The same database by this way. */
  readonly urlOf: (databaseUrl: string) => string;
  /** Cuts the next `times` commits. */
  readonly arm: (cut: Cut, times?: number) => void;
  /** How many commits were cut. */
  readonly cuts: () => number;
  /** How many of them the server had made before its answer was lost. */
  readonly commits: () => number;
  readonly close: () => Promise<void>;
}

// The message that ends what a client sends for one batch.
const copyDone = Buffer.from('c\0\0\0\u0004', 'latin1');

export async function startCommitCutter(): Promise<CommitCutter> {
  const sockets = new Set<Socket>();
  let target: DatabaseTarget | undefined;
  let armed: Cut | undefined;
  let left = 0;
  let done = 0;
  let made = 0;

  function takeCut(chunk: Buffer): Cut | undefined {
    if (left === 0 || !chunk.includes('COPY audit_event ')) return undefined;
    left--;
    done++;
    return armed;
  }

  const server = createServer((near) => {
    if (target === undefined) throw new Error('nobody said where the database is');
    const far = connect(target);
    let cut: Cut | undefined;
    const end = () => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    }
    near.on('data', (chunk) => {
      if (cut === 'silence') return;
      cut ??= takeCut(chunk);
      if (cut === 'silence') return;
      if (cut === 'before') return end();
      if (cut === 'midway') {
        far.end(chunk.subarray(0, chunk.length / 2));
        near.destroy();
        return;
      }
      far.write(chunk);
      if (cut === 'race' && chunk.subarray(-copyDone.length).equals(copyDone)) near.destroy();
    });
    far.on('data', (chunk) => {
      const committed = chunk.includes('COMMIT\0');
      if ((cut === 'reply' || cut === 'race') && committed) {
        made++;
        end();
      } else if (cut === undefined) near.write(chunk);
    });
    near.once('close', () => {
      if (cut === undefined) far.destroy();
    });
    far.once('close', () => near.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    urlOf(databaseUrl) {
      const way = rerouted(databaseUrl, port);
      target = way.target;
      return way.url;
    },
    arm(cut, times = 1) {
      armed = cut;
      left = times;
    },
    cuts: () => done,
    commits: () => made,
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
