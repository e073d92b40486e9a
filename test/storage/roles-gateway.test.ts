/** Gateways and commands whose database user is no more than it needs to be. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifierOfKey } from '../../src/core/cosignature.ts';
import { openNote } from '../../src/core/note.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { type AuditService, startAuditService } from '../support/audit-service.ts';
import { childEnv } from '../support/child-env.ts';
import { numbered } from '../support/drafts.ts';
import { callTool, eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, query } from '../support/log-fixture.ts';
import { startWitness } from '../support/log-signer.ts';
import { toolNamed } from '../support/mcp-scripted.ts';
import { createRoledDatabase, type RoledDatabase } from '../support/roles.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const program = fileURLToPath(new URL('../../cli/talos.ts', import.meta.url));

let database: RoledDatabase;
let folder: string;

beforeAll(async () => {
  database = await createRoledDatabase();
  folder = await mkdtemp(join(tmpdir(), 'talos-roles-'));
});

afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true });
});

async function talos(url: string, ...args: readonly string[]) {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { ...childEnv, DATABASE_URL: url, DEV_MODE: 'true' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  const [out, err] = await Promise.all([readAll(child.stdout), readAll(child.stderr)]);
  const [code] = await ended;
  return { code, out, err };
}

describe('a gateway that is the writer', () => {
  let upstream: Upstream;
  let service: AuditService;
  let gateway: TestGateway;
  let witnessKey: string;
  const { skey, vkey } = generateNoteKey('gateway.example/log');

  beforeAll(async () => {
    [upstream, service] = await Promise.all([startUpstream({ tools: [toolNamed('touch')] }), startAuditService()]);
    const witness = await startWitness({ logs: [vkey] });
    witnessKey = witness.vkey;
    gateway = await startTestGateway({
      databaseUrl: () => database.writer,
      servers: { tested: upstream.url },
      env: {
        TALOS_DATA_DIR: folder,
        TALOS_AUDIT_URL: service.url,
        TALOS_AUDIT_ERASABLE: 'email',
        TALOS_AUDIT_ON_FAILURE: 'spool',
        TALOS_AUDIT_RETENTION_DAYS: '1',
        TALOS_LOG_KEY_COMMAND: JSON.stringify([process.execPath, '-p', 'process.argv[1]', skey]),
        TALOS_LOG_WITNESSES: witness.entry,
      },
    });
  });

  afterAll(async () => {
    await gateway.stop();
    await Promise.all([upstream.close(), service.close()]);
    await cleanUp();
  });

  const event = { event_type: 'visit', actor: 'agent-1', action: 'test', metadata: { email: 'a@example.com' } };

  it('records events, each key once, with their erasable values', async () => {
    const headers = { 'idempotency-key': 'the-only-one' };
    const [first, second] = [
      await gateway.send('/api/events', { json: event, headers }),
      await gateway.send('/api/events', { json: event, headers }),
    ];
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.body['event_id']).toBe(first.body['event_id']);
    expect(await query(database.admin, 'SELECT key FROM log_erasable')).toEqual([{ key: 'email' }]);
  });

  it('calls tools, intent and outcome', async () => {
    expect((await callTool(gateway, 'touch')).status).toBe(200);
    expect(
      await query(database.admin, 'SELECT is_intent FROM audit_event WHERE tool IS NOT NULL ORDER BY seq'),
    ).toEqual([{ is_intent: true }, { is_intent: false }]);
    expect(await query(database.admin, 'SELECT * FROM log_intent')).toEqual([]);
  });

  it('publishes checkpoints with their cosignatures, and keeps them', async () => {
    const verifiers = [verifierOfKey(vkey), verifierOfKey(witnessKey)];
    await eventually(async () => {
      const { text } = await gateway.send('/log/checkpoint');
      return openNote(text, verifiers).verified.length === 2;
    }, 20_000);
    await eventually(async () => {
      const [row] = await query(database.admin, 'SELECT note FROM log_checkpoint ORDER BY size DESC LIMIT 1');
      return row !== undefined && openNote(String(row['note']), verifiers).verified.length === 2;
    }, 20_000);
  });

  it('forwards what it has recorded', async () => {
    await eventually(() => service.taken.length >= 3, 20_000);
    expect(await query(database.admin, 'SELECT target FROM log_forward')).toEqual([{ target: service.url }]);
  });

  it('says once that retention is left to the owner, and was refused nothing', async () => {
    await eventually(() => gateway.logText().includes('run `talos prune` as the owner, from a timer'));
    expect(gateway.logText()).not.toMatch(/permission denied|must be owner|Only the owner/);
    expect((await gateway.send('/readyz')).status).toBe(200);
    expect((await checkLog({ url: database.reader })).length).toBeGreaterThanOrEqual(3);
  });

  it('ends a writer of the same user that stands still while it holds the head', async () => {
    const zombie = new pg.Client({ connectionString: database.writer, application_name: 'talos-log' });
    zombie.on('error', () => undefined);
    await zombie.connect();
    await zombie.query('BEGIN; SELECT 1 FROM log_head FOR UPDATE');
    const ended: number[] = [];
    const writer = createLogWriter({ url: database.writer }, { onZombieEnded: (backend) => ended.push(backend) });
    try {
      expect(await writer.append(randomUUID(), numbered(1))).toHaveLength(1);
      await expect.poll(() => ended.length, { timeout: 20_000 }).toBe(1);
    } finally {
      await writer.close();
      await zombie.end().catch(() => undefined);
    }
  });
});

describe('a gateway does not start', () => {
  const start = (url: string) => startTestGateway({ databaseUrl: () => url, env: { TALOS_DATA_DIR: folder } });

  it('as the writer of a database that is older', async () => {
    const [last] = await query(
      database.admin,
      'DELETE FROM schema_migration WHERE version = (SELECT max(version) FROM schema_migration) RETURNING *',
    );
    try {
      await expect(start(database.writer)).rejects.toThrow(
        /^The database is at version \d+ and this gateway needs \d+: run `talos migrate` as the owner\.$/,
      );
    } finally {
      await query(
        database.admin,
        `INSERT INTO schema_migration (version, name, hash) VALUES (${last?.['version']}, '${last?.['name']}', '${last?.['hash']}')`,
      );
    }
  });

  it('as the writer of a database that is newer', async () => {
    await query(database.admin, "INSERT INTO schema_migration (version, name, hash) VALUES (9999, 'later', 'x')");
    try {
      await expect(start(database.writer)).rejects.toThrow(/newer than this gateway \(\d+\): upgrade the gateway/);
    } finally {
      await query(database.admin, 'DELETE FROM schema_migration WHERE version = 9999');
    }
  });

  it('as the reader', async () => {
    await expect(start(database.reader)).rejects.toThrow('This user may only read the log');
  });

  it('as somebody whom nobody gave anything', async () => {
    const stranger = await createRoledDatabase({ isEmpty: true });
    try {
      await query(database.admin, `GRANT ${database.prefix}_reader TO ${stranger.prefix}_w`);
      await query(database.admin, `REVOKE ${database.prefix}_reader FROM ${stranger.prefix}_w`);
      await expect(start(database.writer.replace(`${database.prefix}_w`, `${stranger.prefix}_w`))).rejects.toThrow(
        'This user may not use the database',
      );
      await expect(start(stranger.writer)).rejects.toThrow(
        'This user sees no log in the database and may not make one: run `talos migrate` as the owner',
      );
    } finally {
      await stranger.drop();
    }
  });
});

describe('commands', () => {
  it('read the log as the reader', async () => {
    const checked = await talos(database.reader, 'fsck');
    expect(checked).toMatchObject({ code: 0, out: expect.stringContaining('the log is sound') });
    expect(await talos(database.reader, 'log', 'status')).toMatchObject({ code: 0, err: '' });
  });

  it.each([
    ['prune', ['prune', '--before', '2020-01-31'], 'Only the owner of the database may drop records'],
    ['erase', ['erase', '--agent', 'agent-1'], 'Only the owner of the database may erase'],
    ['make roles', ['migrate', '--roles', 'other'], 'could not make the roles, and nothing was granted'],
  ])('as the writer cannot %s', async (_, args, sentence) => {
    const before = await query(database.admin, 'SELECT next_seq FROM log_head');
    expect(await talos(database.writer, ...args)).toMatchObject({ code: 1, err: expect.stringContaining(sentence) });
    expect(await query(database.admin, 'SELECT next_seq FROM log_head')).toEqual(before);
  });

  it('as the owner prune, erase and migrate', async () => {
    expect(await talos(database.owner, 'prune', '--before', '2020-01-31')).toMatchObject({
      code: 0,
      out: 'No partition is that old.\n',
    });
    const writer = createLogWriter({ url: database.writer });
    const [event] = await writer.append(randomUUID(), numbered(1));
    await writer.close();
    await query(database.admin, `INSERT INTO log_erasable VALUES ('${event?.eventId}', 'name', '', '"x"')`);
    expect((await talos(database.owner, 'erase', '--event', String(event?.eventId))).out).toMatch(
      /^Erased 1 values; recorded as /,
    );
    expect((await talos(database.owner, 'migrate')).out).toMatch(
      new RegExp(`^The database is at version \\d+; ${database.prefix}_owner owns it\\.\n$`),
    );
  });

  it('refuse a prefix that cannot be part of a name', async () => {
    const { code, err } = await talos(database.owner, 'migrate', '--roles', 'x; DROP ROLE y');
    expect({ code, err }).toMatchObject({ code: 2, err: expect.stringContaining('cannot begin the names of roles') });
  });
});
