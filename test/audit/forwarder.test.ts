/** Forwarding to an external audit service, over real HTTP from a real log. */
import { randomUUID } from 'node:crypto';
import { Writable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { type Forwarder, startForwarder } from '../../src/audit/forwarder.ts';
import { bounds } from '../../src/config/bounds.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createForwardStore } from '../../src/storage/forward.ts';
import type { LogWriter } from '../../src/storage/log.ts';
import { createTelemetry, type Telemetry } from '../../src/telemetry/telemetry.ts';
import { type AuditService, startAuditService } from '../support/audit-service.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { eventually } from '../support/gateway.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

interface Stage {
  readonly address: { url: string };
  readonly writer: LogWriter;
  readonly service: AuditService;
  readonly forward: (more?: { leaseMs?: number; url?: string }) => Promise<Started>;
}

interface Started {
  readonly forwarder: Forwarder;
  readonly telemetry: Telemetry;
  readonly logged: () => string;
}

async function stage(): Promise<Stage> {
  const address = await freshLog();
  const service = await startAuditService();
  later(() => service.close());
  const pool = openReadPool(address);
  later(() => pool.end());
  const forward: Stage['forward'] = async ({ leaseMs = 60_000, url = service.url } = {}) => {
    let text = '';
    const destination = new Writable({
      write(chunk, _encoding, done) {
        text += String(chunk);
        done();
      },
    });
    const telemetry = createTelemetry({ level: 'info', destination });
    const forwarder = startForwarder({
      store: createForwardStore(pool, { target: url, owner: randomUUID(), leaseMs }),
      url,
      fetch,
      monotonic: () => performance.now(),
      bounds: {
        ...bounds,
        forwardPageRecords: 7,
        forwardTimeoutMs: 300,
        forwardIdleMs: 5,
        forwardBackoffMinMs: 5,
        forwardBackoffMaxMs: 20,
        forwardRejectionsMax: 3,
      },
      telemetry,
    });
    later(() => forwarder.close());
    return { forwarder, telemetry, logged: () => text };
  };
  return { address, writer: writerOn(address), service, forward };
}

const metaOf = (record: JsonObject) => record['meta'] as JsonObject;
const taken = (service: AuditService) => service.taken.map((record) => metaOf(record)['n']);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);
const append = (writer: LogWriter, count: number, from = 0) => writer.append(randomUUID(), numbered(count, from));

async function metric({ telemetry }: Started, name: string): Promise<number> {
  const { text } = await telemetry.exposition();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}

describe('the forwarder', () => {
  it('delivers the whole log in order, one record at a time, and what is appended meanwhile', async () => {
    const { writer, service, forward } = await stage();
    await append(writer, 20);
    const started = await forward();
    await append(writer, 5, 20);
    await eventually(() => service.taken.length === 25);
    expect(taken(service)).toEqual(upTo(25));
    expect(service.overlapped()).toBe(false);
    expect(service.requests()).toBe(25);
    await eventually(async () => (await metric(started, 'audit_forward_lag_records')) === 0);
    expect(await metric(started, 'audit_forward_success_total')).toBe(25);
    expect(await metric(started, 'audit_forward_failure_total')).toBe(0);
  });

  it('sends records that the service can check, whatever they hold', async () => {
    const { writer, service, forward } = await stage();
    const texts = ['"', '\\', '\u2028', '😀', '\u0000', '{"event_hash":"x"}', '__proto__'];
    await writer.append(
      randomUUID(),
      texts.map((text) => prepared({ resource: { type: 'event', id: text }, meta: { text } })),
    );
    await forward();
    await eventually(() => service.taken.length === texts.length);
    expect(service.taken.map((record) => metaOf(record)['text'])).toEqual(texts);
  });

  it('goes on where it was after a restart', async () => {
    const { writer, service, forward } = await stage();
    await append(writer, 10);
    const first = await forward();
    await eventually(() => service.taken.length === 10);
    await first.forwarder.close();
    await append(writer, 10, 10);
    await forward();
    await eventually(() => service.taken.length === 20);
    expect(taken(service)).toEqual(upTo(20));
    expect(service.requests()).toBe(20);
  });

  it('loses nothing in many restarts, and repeats only what the service then knows', async () => {
    const { writer, service, forward } = await stage();
    await append(writer, 100);
    while (service.taken.length < 100) {
      const enough = service.taken.length + 9;
      const { forwarder } = await forward();
      await eventually(() => service.taken.length >= Math.min(enough, 100));
      await forwarder.close();
    }
    expect(taken(service)).toEqual(upTo(100));
  });

  it('counts a duplicate as delivered', async () => {
    const { address, writer, service, forward } = await stage();
    await append(writer, 10);
    const first = await forward();
    await eventually(() => service.taken.length === 10);
    await first.forwarder.close();
    await query(address.url, 'UPDATE log_forward SET next_seq = 4');
    const second = await forward();
    await eventually(async () => (await metric(second, 'audit_forward_success_total')) === 6);
    expect(taken(service)).toEqual(upTo(10));
    expect(await metric(second, 'audit_forward_failure_total')).toBe(0);
  });

  it('leaves the work to one gateway, and another takes over when that one ends', async () => {
    const { writer, service, forward } = await stage();
    const first = await forward();
    await append(writer, 3);
    await eventually(() => service.taken.length === 3);
    const second = await forward();
    await append(writer, 20, 3);
    await eventually(() => service.taken.length === 23);
    // The service has a record a moment before its sender knows, who would send it again if it ended just then.
    await expect.poll(() => metric(first, 'audit_forward_success_total')).toBe(23);
    expect(await metric(second, 'audit_forward_success_total')).toBe(0);
    await first.forwarder.close();
    await append(writer, 5, 23);
    await eventually(() => service.taken.length === 28);
    await expect.poll(() => metric(second, 'audit_forward_success_total')).toBe(5);
    expect(taken(service)).toEqual(upTo(28));
  });

  it('is taken over from a gateway that was stopped without a word', async () => {
    const { address, writer, service, forward } = await stage();
    await query(
      address.url,
      `INSERT INTO log_forward VALUES ('${service.url}', 2, gen_random_uuid(), now() - interval '1 minute')`,
    );
    await append(writer, 5);
    await forward({ leaseMs: 30_000 });
    await eventually(() => service.taken.length === 3);
    expect(taken(service)).toEqual([2, 3, 4]);
  });
});

describe('a service that fails', () => {
  it.each([
    ['answers 500', 500],
    ['answers 503', 503],
    ['wants a credential', 401],
    ['limits its callers', 429],
    ['does not know the path', 404],
  ])('because it %s gets everything later, in order', async (_, status) => {
    const { writer, service, forward } = await stage();
    let failures = 3;
    service.answer = (record, response) => {
      if (metaOf(record)['n'] !== 4 || failures-- <= 0) return false;
      response.writeHead(status).end();
      return true;
    };
    await append(writer, 10);
    const started = await forward();
    await eventually(() => service.taken.length === 10);
    expect(taken(service)).toEqual(upTo(10));
    expect(await metric(started, 'audit_forward_failure_total')).toBe(3);
    expect(started.logged().match(/cannot be forwarded now/g)).toHaveLength(1);
    expect(started.logged()).toContain('takes records again');
  });

  it('because it hangs, or drops the connection, gets everything later', async () => {
    const { writer, service, forward } = await stage();
    const faults = ['hang', 'drop'];
    service.answer = (_, response) => {
      const fault = faults.pop();
      if (fault === 'drop') response.destroy();
      return fault !== undefined;
    };
    await append(writer, 3);
    const started = await forward();
    await eventually(() => service.taken.length === 3);
    expect(taken(service)).toEqual(upTo(3));
    expect(await metric(started, 'audit_forward_failure_total')).toBe(2);
  });

  it('because it sends elsewhere is not followed', async () => {
    const { writer, service, forward } = await stage();
    const elsewhere = await startAuditService();
    later(() => elsewhere.close());
    service.answer = (_, response) => {
      response.writeHead(307, { location: `${elsewhere.url}/api/events/ingest` }).end();
      return true;
    };
    await append(writer, 3);
    const started = await forward();
    await eventually(async () => (await metric(started, 'audit_forward_failure_total')) > 2);
    expect(elsewhere.requests()).toBe(0);
    expect(service.taken).toEqual([]);
  });
});

describe('a record that the service refuses', () => {
  const refuse = (service: AuditService, status: number, refused: (n: unknown) => boolean) => {
    service.answer = (record, response) => {
      if (!refused(metaOf(record)['n'])) return false;
      response.writeHead(status).end();
      return true;
    };
  };

  it.each([400, 413, 422])('with %d is listed and told, and the others go on', async (status) => {
    const { address, writer, service, forward } = await stage();
    refuse(service, status, (n) => n === 4);
    await append(writer, 10);
    const started = await forward();
    await eventually(() => service.taken.length === 9);
    expect(taken(service)).toEqual(upTo(10).filter((n) => n !== 4));
    expect(await query(address.url, 'SELECT seq::int, status FROM log_forward_rejected')).toEqual([{ seq: 4, status }]);
    expect(await metric(started, 'audit_forward_rejected_total')).toBe(1);
    expect(started.logged()).toContain('REFUSED a record');
  });

  it('is offered again by the next gateway that starts', async () => {
    const { address, writer, service, forward } = await stage();
    refuse(service, 422, (n) => n === 2);
    await append(writer, 5);
    const first = await forward();
    await eventually(() => service.taken.length === 4);
    await first.forwarder.close();
    service.answer = undefined;
    await append(writer, 1, 5);
    await forward();
    await eventually(() => service.taken.length === 6);
    expect(taken(service)).toEqual([0, 1, 3, 4, 5, 2]);
    await eventually(async () => (await query(address.url, 'SELECT 1 FROM log_forward_rejected')).length === 0);
  });

  it('is no reason to pass by the whole log: after some in a row it waits', async () => {
    const { address, writer, service, forward } = await stage();
    refuse(service, 400, () => true);
    await append(writer, 20);
    const started = await forward();
    await eventually(async () => (await metric(started, 'audit_forward_failure_total')) > 2);
    expect(await query(address.url, 'SELECT count(*)::int AS n FROM log_forward_rejected')).toEqual([{ n: 3 }]);
    expect(started.logged()).toContain('refuses every record');
    service.answer = undefined;
    await eventually(() => service.taken.length === 20);
    const numbers = taken(service).map(Number);
    expect(numbers.filter((n) => n >= 3)).toEqual(upTo(20).slice(3));
    expect(numbers.filter((n) => n < 3)).toEqual([0, 1, 2]);
  });
});

describe('records that are gone before they were forwarded', () => {
  it('are told of once, and the rest is delivered', async () => {
    const { address, writer, service, forward } = await stage();
    await append(writer, 10);
    await query(address.url, 'DELETE FROM audit_event WHERE seq < 6');
    const started = await forward();
    await eventually(() => service.taken.length === 4);
    expect(taken(service)).toEqual([6, 7, 8, 9]);
    expect(await metric(started, 'audit_forward_missed_total')).toBe(6);
  });
});
