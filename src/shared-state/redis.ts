/**
 * The connection to Redis or Valkey. It reconnects by itself, for ever; while it is away, or does not answer in time,
 * commands fail at once and nothing waits in a queue, because what is shared here is worth nothing when it is late.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'iovalkey';
import { describeError } from '../core/errors.ts';

export interface SharedStoreBounds {
  readonly sharedStoreConnectTimeoutMs: number;
  /** How long a connection may be silent while a command waits, before it is given up. */
  readonly sharedStoreSilenceMs: number;
  readonly sharedStoreRetryMinMs: number;
  readonly sharedStoreRetryMaxMs: number;
}

export interface SharedStoreOptions {
  readonly url: string;
  readonly bounds: SharedStoreBounds;
  /** Told of each change, and of what is wrong; never of the address, which may hold a password. */
  readonly onState: (state: { readonly isUp: boolean; readonly reason: string }) => void;
}

export interface SharedStore {
  readonly client: Redis;
  readonly close: () => void;
}

/** Resolves when it is connected, or after the connect time-out: then it is tried on. Never rejects. */
export async function openSharedStore({ url, bounds, onState }: SharedStoreOptions): Promise<SharedStore> {
  // Most gateways have no shared store, and need not hold its client in memory.
  const { Redis } = await import('iovalkey');
  const client = new Redis(url, {
    lazyConnect: true,
    connectionName: 'talos-gateway',
    connectTimeout: bounds.sharedStoreConnectTimeoutMs,
    socketTimeout: bounds.sharedStoreSilenceMs,
    keepAlive: bounds.sharedStoreSilenceMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) =>
      Math.min(bounds.sharedStoreRetryMinMs * 2 ** Math.min(times, 16), bounds.sharedStoreRetryMaxMs),
    // A primary that became a replica: another one answers at the same name by now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  let reason = 'the connection was closed';
  client.on('error', (error) => {
    reason = describeError(error);
  });
  client.on('ready', () => onState({ isUp: true, reason: '' }));
  client.on('close', () => onState({ isUp: false, reason }));
  const ready = client.connect().catch(() => undefined);
  await Promise.race([ready, delay(bounds.sharedStoreConnectTimeoutMs, undefined, { ref: false })]);
  return { client, close: () => client.disconnect() };
}
