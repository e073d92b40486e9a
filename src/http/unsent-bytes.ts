/** What of the bytes that were written to a connection the network has not taken yet. */
import type { Duplex } from 'node:stream';

/** Of a socket beneath: what its system call left over, as Node's own timeouts ask for it. */
interface WithHandle {
  readonly _handle?: { readonly writeQueueSize?: number } | null;
}

/** Changes with every part that is taken, where `writableLength` alone changes with whole writes. */
export function unsentBytes(socket: Duplex): number {
  return socket.writableLength + ((socket as WithHandle)._handle?.writeQueueSize ?? 0);
}
