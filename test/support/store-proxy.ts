/** A way to a PostgreSQL server that a test can cut, hold and restore, as a network or a stopped server would. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type DatabaseTarget, rerouted } from './rerouted.ts';

export interface StoreProxy {
  /** The same database by this way. */
  readonly urlOf: (databaseUrl: string) => string;
  /** Ends every connection and refuses new ones. */
  readonly cut: () => Promise<void>;
  /** Accepts connections and passes nothing on: a server that is stopped, not gone. */
  readonly hold: () => void;
  /** Lets everything through again; what was held goes on. */
  readonly restore: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function startStoreProxy(): Promise<StoreProxy> {
  const sockets = new Set<Socket>();
  let target: DatabaseTarget | undefined;
  let isHeld = false;
  const server = createServer((near) => {
    if (target === undefined) throw new Error('nobody said where the database is');
    const far = connect(target);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('data', (chunk) => to.write(chunk));
      from.once('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      if (isHeld) from.pause();
    }
  });
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const cut = async () => {
    if (!server.listening) return;
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, 'close');
  };
  return {
    urlOf(databaseUrl) {
      const way = rerouted(databaseUrl, port);
      target = way.target;
      return way.url;
    },
    cut,
    hold() {
      isHeld = true;
      for (const socket of sockets) socket.pause();
    },
    async restore() {
      isHeld = false;
      for (const socket of sockets) socket.resume();
      if (!server.listening) await listen(port);
    },
    close: cut,
  };
}
