/** Where gateways on one database find the MCP sessions of each other: real directories on a real database. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { mintSessionId } from '../../src/core/gateway-key.ts';
import { createSessionDirectory } from '../../src/gateway/native/sessions/session-directory.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { readGatewayKey } from '../../src/storage/gateway-key.ts';
import { createMcpSessionStore, type McpSessionStore } from '../../src/storage/mcp-sessions.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { cleanUp, freshLog, later, query } from '../support/log-fixture.ts';

afterEach(cleanUp);

const { log } = createTelemetry({ level: 'silent' });

async function database() {
  const { url } = await freshLog();
  const pool = openReadPool({ url });
  later(() => pool.end());
  const store = createMcpSessionStore(pool);
  const key = await readGatewayKey(pool);
  /** A gateway, and how often it has asked the store whose a session is. */
  const gateway = async (at?: string, by: McpSessionStore = store) => {
    const gatewayId = randomUUID();
    const clock = { ms: 0, now: () => 0, monotonic: () => clock.ms };
    const asked: string[] = [];
    const ownerOf = (id: string) => {
      asked.push(id);
      return by.ownerOf(id);
    };
    const counting = { ...by, ownerOf };
    const directory = createSessionDirectory({ store: counting, key, gatewayId, clock, log });
    later(() => directory.close().catch(() => undefined));
    if (at !== undefined) await directory.reachedAt(at);
    return { directory, gatewayId, asked, clock };
  };
  const rows = () => query(url, 'SELECT * FROM mcp_session');
  return { url, pool, store, key, gateway, rows };
}

type Gateway = Awaited<ReturnType<Awaited<ReturnType<typeof database>>['gateway']>>;

async function open({ directory }: Gateway, serverId = 'weather'): Promise<string> {
  const id = directory.newId();
  await directory.opened({ id, principalId: 'did:talos:agent', teamId: 'default', serverId });
  return id;
}

describe('the key of the gateways', () => {
  it('is one, however many gateways make it at once', async () => {
    const { pool } = await database();
    await pool.query('DELETE FROM gateway_key');
    const keys = await Promise.all(Array.from({ length: 8 }, () => readGatewayKey(pool)));
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(1);
  });
});

describe('a session', () => {
  it('is found by the other gateways at the one that opened it', async () => {
    const { gateway } = await database();
    const [a, b] = [await gateway('http://10.0.0.1:8000'), await gateway('http://10.0.0.2:8000')];
    const id = await open(a);
    expect(await b.directory.ownerOf(id)).toEqual({ gatewayId: a.gatewayId, gatewayUrl: 'http://10.0.0.1:8000' });
    expect(await a.directory.ownerOf(id)).toBeUndefined();
    expect(a.asked).toEqual([]);
  });

  it('is in the table with who opened it and where, and without its id', async () => {
    const { gateway, rows } = await database();
    const a = await gateway('http://10.0.0.1:8000');
    const id = a.directory.newId();
    const opened = { id, principalId: 'did:talos:agent', teamId: 'red', capabilityHash: 'ab'.repeat(32) };
    await a.directory.opened(opened);
    const [row] = await rows();
    expect(row).toMatchObject({
      principal_id: 'did:talos:agent',
      team_id: 'red',
      server_id: null,
      gateway_id: a.gatewayId,
    });
    expect(row).toMatchObject({ capability_hash: 'ab'.repeat(32), gateway_url: 'http://10.0.0.1:8000' });
    const shown = Object.values(row ?? {}).map((value) =>
      Buffer.isBuffer(value) ? value.toString('latin1') : String(value),
    );
    for (const secret of [id, Buffer.from(id, 'base64url').toString('latin1')])
      expect(shown.join('\n')).not.toContain(secret);
  });

  it('is nobody’s once it has ended, and others know soon', async () => {
    const { gateway, rows } = await database();
    const [a, b] = [await gateway('http://10.0.0.1:8000'), await gateway('http://10.0.0.2:8000')];
    const id = await open(a);
    a.directory.ended(id);
    await expect.poll(rows, { timeout: 20_000 }).toEqual([]);
    expect(await b.directory.ownerOf(id)).toBeUndefined();
  });

  it('is nobody’s when its gateway cannot be reached by others', async () => {
    const { gateway } = await database();
    const [a, b] = [await gateway(), await gateway('http://10.0.0.2:8000')];
    expect(await b.directory.ownerOf(await open(a))).toBeUndefined();
  });

  it('is nobody’s when its gateway was found to be gone', async () => {
    const { gateway, rows } = await database();
    const [a, b, c] = [await gateway('http://10.0.0.1:8000'), await gateway(), await gateway()];
    const [id, other] = [await open(a), await open(a)];
    b.directory.lost(id);
    await expect.poll(rows, { timeout: 20_000 }).toHaveLength(1);
    expect(await c.directory.ownerOf(id)).toBeUndefined();
    expect(await c.directory.ownerOf(other)).toBeDefined();
  });

  it('ends with the run of its gateway, stopped or followed by another one at its address', async () => {
    const { gateway, rows } = await database();
    const [a, b] = [await gateway('http://10.0.0.1:8000'), await gateway('http://10.0.0.2:8000')];
    const [lost, stays] = [await open(a), await open(b)];
    const again = await gateway('http://10.0.0.1:8000');
    expect(await again.directory.ownerOf(lost)).toBeUndefined();
    expect(await again.directory.ownerOf(stays)).toMatchObject({ gatewayId: b.gatewayId });
    await b.directory.close();
    expect(await rows()).toEqual([]);
  });

  it('is forgotten when its gateway no longer says that it is open, and not before', async () => {
    const { url, gateway, store, rows } = await database();
    const [a, b] = [await gateway('http://10.0.0.1:8000'), await gateway()];
    const [silent, kept] = [await open(a), await open(a)];
    await query(url, `UPDATE mcp_session SET expires_at = now() - interval '1 second'`);
    await store.keep([kept], bounds.mcpSessionKeptSec);
    expect(await b.directory.ownerOf(silent)).toBeUndefined();
    expect(await b.directory.ownerOf(kept)).toBeDefined();
    expect(await store.prune()).toBe(1);
    expect(await rows()).toHaveLength(1);
  });

  it('that was taken out does not come back by being kept', async () => {
    const { gateway, store, rows } = await database();
    const a = await gateway('http://10.0.0.1:8000');
    const id = await open(a);
    await store.remove([id]);
    await store.keep([id], bounds.mcpSessionKeptSec);
    expect(await rows()).toEqual([]);
  });
});

describe('an id', () => {
  it.each([
    '',
    'x',
    'a'.repeat(43),
    randomUUID(),
    mintSessionId(randomBytes(32)),
    'x'.repeat(16_000),
    "'; DROP TABLE mcp_session",
  ])('that no gateway made costs the store nothing: %j', async (id) => {
    const { gateway } = await database();
    const { directory, asked } = await gateway();
    expect(await directory.ownerOf(id)).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it('that is nobody’s is asked for once in a while', async () => {
    const { gateway, key } = await database();
    const { directory, asked, clock } = await gateway();
    const id = mintSessionId(key);
    for (let n = 0; n < 50; n++) expect(await directory.ownerOf(id)).toBeUndefined();
    expect(asked).toEqual([id]);
    clock.ms += bounds.unknownSessionMs;
    await directory.ownerOf(id);
    expect(asked).toEqual([id, id]);
  });
});

describe('while the store is away', () => {
  it('nobody can say whose a session is, none is opened, and ending one fails nobody', async () => {
    const { gateway, key } = await database();
    const away = openReadPool({ url: 'postgresql://nobody@127.0.0.1:9/nowhere' });
    later(() => away.end());
    const { directory } = await gateway(undefined, createMcpSessionStore(away));
    await expect(directory.ownerOf(mintSessionId(key))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const id = directory.newId();
    const opened = directory.opened({ id, principalId: 'a', teamId: 'b' });
    await expect(opened).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(() => directory.ended(id)).not.toThrow();
  });
});
