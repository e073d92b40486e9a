/**
 * Nobody waits for a zombie. A gateway that is stopped while it holds the log's head would stop all others: its server
 * process waits for nothing but its client, and in the middle of COPY no time-out of PostgreSQL ends that. So a writer
 * that has waited for the head for longer than any batch takes ends whoever blocks it in this way. The zombie finds its
 * connection gone when it wakes, and what became of its batch in `log_writer`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import { createClient, type DatabaseAddress, destroyClient, endClient } from './db.ts';

/** The application name of connections that lock the head; no other connection is ever ended. */
export const writerName = 'talos-log';

/** Runs `lock`, a query on `client` that waits for the head. `onEnded` is told of each connection that was ended for it. */
export async function lockWatched<T>(
  address: DatabaseAddress,
  client: pg.Client,
  lock: () => Promise<T>,
  onEnded: (backend: number) => void,
): Promise<T> {
  let watch: AbortController | undefined;
  const timer = setTimeout(() => {
    watch = new AbortController();
    void endZombies(address, client, watch.signal, onEnded);
  }, bounds.headWaitMs);
  try {
    return await lock();
  } finally {
    clearTimeout(timer);
    watch?.abort();
  }
}

async function endZombies(
  address: DatabaseAddress,
  waiter: pg.Client,
  signal: AbortSignal,
  onEnded: (backend: number) => void,
): Promise<void> {
  while (!signal.aborted) {
    // A round that fails is no worse than none: the next one tries again.
    const ended = await endBlockers(address, waiter).catch(() => []);
    for (const backend of ended) onEnded(backend);
    await delay(bounds.headCheckMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Process ids of the connections that were ended. */
async function endBlockers(address: DatabaseAddress, waiter: pg.Client): Promise<number[]> {
  const client = createClient(address, 'talos-head');
  const timer = setTimeout(
    () => destroyClient(client, new Error('the store did not answer in time')),
    bounds.headWaitMs,
  );
  try {
    await client.connect();
    // Whoever waits in line blocks those behind it and waits for a lock; the zombie at the head of the line waits for
    // its client. The line is followed to its head, because those between may be gone or stopped as well. A batch that
    // is slow because the server is busy waits for neither, and is left alone. The conditions of one WHERE are tried
    // in any order, so who is to be ended is settled before anybody is.
    const { rows } = await client.query<{ pid: number }>(
      `WITH RECURSIVE blocker AS (
         SELECT unnest(pg_blocking_pids($1)) AS pid UNION SELECT unnest(pg_blocking_pids(pid)) FROM blocker),
       zombie AS MATERIALIZED (
         SELECT pid FROM pg_stat_activity JOIN blocker USING (pid)
          WHERE application_name = '${writerName}'
            AND datname = current_database() AND usename = current_user AND wait_event_type = 'Client'
            AND state_change < clock_timestamp() - make_interval(secs => $2::float8 / 1000))
       SELECT pid FROM zombie WHERE pg_terminate_backend(pid)`,
      [backendOf(waiter), bounds.headWaitMs],
    );
    await endClient(client);
    return rows.map(({ pid }) => pid);
  } finally {
    clearTimeout(timer);
    destroyClient(client);
  }
}

// pg knows it from the start of the session; its types do not say so.
function backendOf(client: pg.Client): number | null {
  return (client as unknown as { readonly processID: number | null }).processID;
}
