/** The key that all gateways of this database share: the first one makes it. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { gatewayKeyBytes } from '../core/gateway-key.ts';
import { read } from './db.ts';

const name = 'sessions';

/** Throws `STORE_UNAVAILABLE`. */
export async function readGatewayKey(pool: pg.Pool): Promise<Buffer> {
  const made = randomBytes(gatewayKeyBytes);
  await read(pool, 'INSERT INTO gateway_key (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING', [name, made]);
  const [row] = await read<{ key: Buffer }>(pool, 'SELECT key FROM gateway_key WHERE name = $1', [name]);
  if (row === undefined) throw new Error('The key of the gateways is not there.');
  return row.key;
}
