/** Exports of a real gateway, judged by the verifier that users run. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { csvCell, csvColumns } from '../../cli/export/csv.ts';
import { type ExportRequest, runExport } from '../../cli/export/export.ts';
import { ExportFailed, gatewaySource } from '../../cli/export/source.ts';
import { UsageError } from '../../cli/usage-error.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { type Trust, trust, verifyExport, verifyReceipt } from '../../verifier/index.ts';
import { hostileTexts } from '../support/drafts.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';

let gateway: TestGateway;
let folder = '';
let believed: Trust;
let files = 0;
const cleanups: (() => Promise<unknown>)[] = [];

const event = (n: number, more: JsonObject = {}): JsonObject => ({
  event_type: n % 2 === 0 ? 'even' : 'odd',
  actor: 'agent-1',
  action: 'test',
  metadata: { n, session_id: `s-${n % 3}`, ...more },
});

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-export-'));
  gateway = await startTestGateway();
  for (const from of [0, 600]) {
    const json = Array.from({ length: 600 }, (_, n) => event(from + n, n % 50 === 0 ? { nested: { list: [n] } } : {}));
    await gateway.send('/api/events/batch', { json });
  }
  await gateway.send('/api/events/batch', {
    json: hostileTexts.map((text) => event(1, { text, [text || 'empty']: '=1+1' })),
  });
  const { body } = await gateway.send('/log/keys');
  believed = await trust({ vkeys: body['keys'] as unknown as string[] });
});

afterEach(async () => {
  for (const step of cleanups.splice(0)) await step();
});

afterAll(async () => {
  await gateway.stop();
  await rm(folder, { recursive: true });
});

const newPath = () => join(folder, `export-${++files}`);

async function exported(
  request: Partial<ExportRequest> & Pick<ExportRequest, 'format'>,
  token?: string,
): Promise<string[]> {
  const output = newPath();
  await runExport(gatewaySource(gateway.url, token), { filter: {}, resume: false, output, ...request });
  return linesIn(await readFile(output, 'utf8'));
}

function linesIn(text: string): string[] {
  expect(text.endsWith('\n')).toBe(true);
  return text.slice(0, -1).split('\n');
}

async function problems(lines: readonly string[]): Promise<string[]> {
  return (await verifyExport(lines, believed)).checks.filter(({ ok }) => !ok).map(({ detail }) => detail);
}

const objects = (lines: readonly string[]) => lines.map((line) => JSON.parse(line) as JsonObject);

describe('a range', () => {
  it('of the whole log is verified, record by record and as a whole', async () => {
    const lines = await exported({ format: 'range' });
    const report = await verifyExport(lines, believed);
    expect(report.checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(report.records).toBe(lines.length - 1);
    expect(report.records).toBeGreaterThanOrEqual(1_200 + hostileTexts.length);
  });

  it.each([
    [0, 1],
    [5, 5],
    [255, 257],
    [256, 512],
    [300, 1_100],
    [1_199, 1_200],
  ])('from %i to %i is verified', async (fromSeq, toSeq) => {
    const lines = await exported({ format: 'range', fromSeq, toSeq });
    expect(lines).toHaveLength(1 + toSeq - fromSeq);
    expect(await problems(lines)).toEqual([]);
  });

  it('keeps the bytes that were hashed, and the details', async () => {
    const [, line = ''] = await exported({ format: 'range', fromSeq: 50, toSeq: 51 });
    const { body } = await gateway.send('/api/events?limit=500&event_type=even&session_id=s-2');
    const item = (body['items'] as unknown as JsonObject[]).find(
      ({ metadata }) => (metadata as JsonObject)['n'] === 50,
    );
    expect(JSON.parse(line)).toMatchObject({ leaf_index: 50, details: { nested: { list: [50] } } });
    expect((JSON.parse(line) as { record: JsonObject }).record['event_id']).toBe(item?.['event_id']);
  });

  it('of a time begins and ends at whole seconds', async () => {
    const [, first = ''] = await exported({ format: 'range', fromSeq: 0, toSeq: 1 });
    const sec = Math.floor(Date.parse((JSON.parse(first) as { record: { ts: string } }).record.ts) / 1000);
    expect(await exported({ format: 'range', toSec: sec })).toHaveLength(1);
    const rest = await exported({ format: 'range', fromSec: sec });
    expect(rest.length).toBeGreaterThan(1_200);
    expect(await problems(rest)).toEqual([]);
  });

  it.each([
    [
      'a changed record',
      (lines: string[]) => lines.with(7, (lines[7] ?? '').replace('"action":"test"', '"action":"tests"')),
    ],
    ['a missing record', (lines: string[]) => lines.toSpliced(7, 1)],
    ['a cut end', (lines: string[]) => lines.slice(0, -1)],
    ['changed details', (lines: string[]) => lines.map((line) => line.replace('"list":[0]', '"list":[1]'))],
  ])('with %s is refused', async (_, damage) => {
    const lines = await exported({ format: 'range', fromSeq: 600, toSeq: 700 });
    expect(await problems(lines)).toEqual([]);
    expect(await problems(damage(lines))).not.toEqual([]);
  });

  it('stops where the gateway does not show everything', async () => {
    const token = tokenFor('another-team');
    await expect(exported({ format: 'range', fromSeq: 0, toSeq: 10 }, token)).rejects.toThrow(ExportFailed);
  });
});

function tokenFor(team: string): string {
  const now = Math.floor(Date.now() / 1000);
  const scope = 'tool:gateway/method:events.read';
  return tokenWith({ scope, iat: now - 10, exp: now + 600, constraints: { team_id: team } });
}

describe('a selection', () => {
  it.each([
    [{ session_id: 's-1' }, 400],
    [{ event_type: 'odd' }, 600],
    [{ event_type: 'even', session_id: 's-0' }, 200],
    [{ outcome: 'denied' }, 0],
    [{ agent_id: 'nobody' }, 0],
  ])('by %o is verified and has every match', async (filter, count) => {
    const lines = await exported({ format: 'selection', filter, toSeq: 1_200 });
    expect(lines).toHaveLength(1 + count);
    expect(await problems(lines)).toEqual([]);
  });

  it('with an exchanged proof is refused', async () => {
    const lines = await exported({ format: 'selection', filter: { session_id: 's-1' }, toSeq: 600 });
    const proofOf = (line: string) => /"proof":\[[^\]]*\]/.exec(line)?.[0] ?? '';
    const damaged = lines.with(3, (lines[3] ?? '').replace(proofOf(lines[3] ?? ''), proofOf(lines[9] ?? '')));
    expect(await problems(damaged)).not.toEqual([]);
  });
});

it('writes receipts of which each is verified alone', async () => {
  const lines = await exported({ format: 'receipts', fromSeq: 590, toSeq: 615 });
  expect(lines).toHaveLength(25);
  for (const line of lines) expect(await verifyReceipt(line, believed)).toMatchObject({ ok: true });
});

describe('CSV', () => {
  it('has a row for each record, and no cell that is a formula', async () => {
    const output = newPath();
    await runExport(gatewaySource(gateway.url, undefined), {
      format: 'csv',
      filter: {},
      resume: false,
      output,
      fromSeq: 1_195,
    });
    const rows = parseCsv(await readFile(output, 'utf8'));
    expect(rows[0]).toEqual([...csvColumns]);
    expect(rows[1]?.[0]).toBe('1195');
    for (const row of rows) {
      expect(row).toHaveLength(csvColumns.length);
      for (const cell of row) expect(cell).not.toMatch(/^[=+@\t\r]|^-(?!\d)/);
    }
  });

  it.each([
    ['=1+1', "'=1+1"],
    ['+1', "'+1"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['-1+1', "'-1+1"],
    ['-1', '-1'],
    [' =1', "' =1"],
    ['\t=1', "'\t=1"],
    ['a"b', '"a""b"'],
    ['a,b', '"a,b"'],
    ['a\nb', '"a\nb"'],
    ['=HYPERLINK("x","y")', '"\'=HYPERLINK(""x"",""y"")"'],
    ['plain', 'plain'],
    ['', ''],
  ])('writes %j as %j', (text, cell) => {
    expect(csvCell(text)).toBe(cell);
  });
});

/** Reads RFC 4180. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, bare, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? bare ?? '');
    if (end === '\r\n') rows.push([]);
  }
  rows.pop();
  return rows;
}

describe('views', () => {
  it('tells OCSF what API Activity must say', async () => {
    const [item] = objects(await exported({ format: 'ocsf', fromSeq: 3, toSeq: 4 }));
    expect(item).toMatchObject({
      class_uid: 6003,
      category_uid: 6,
      activity_id: 1,
      type_uid: 600_301,
      severity_id: 1,
      status_id: 1,
      actor: { user: { uid: 'agent-1' }, session: { uid: 's-0' } },
      api: { operation: 'test' },
      metadata: { sequence: 3, event_code: 'odd' },
      unmapped: { event_hash: expect.stringMatching(/^[0-9a-f]{64}$/), meta: { n: 3 } },
    });
    expect(item?.['time']).toBeTypeOf('number');
  });

  it('tells CADF who did what to which with which outcome', async () => {
    const [item] = objects(await exported({ format: 'cadf', fromSeq: 3, toSeq: 4 }));
    expect(item).toMatchObject({
      typeURI: 'http://schemas.dmtf.org/cloud/audit/1.0/event',
      eventType: 'activity',
      action: 'create',
      outcome: 'success',
      initiator: { id: 'agent-1' },
      target: { id: 'odd' },
      reason: { reasonType: 'HTTP', reasonCode: '200' },
    });
  });
});

/** A gateway in front of the gateway that answers so many pages and then no more. */
async function failingAfter(pages: number): Promise<string> {
  let left = pages;
  const server: Server = createServer(async (request, response) => {
    const isPage = request.url?.includes('/records') === true && !request.url.includes('limit=1&');
    if (isPage && left-- <= 0) return void response.writeHead(404).end('{}');
    const answer = await fetch(gateway.url + String(request.url));
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => server.close(resolve)));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('an export that was interrupted', () => {
  it.each(['range', 'selection', 'receipts', 'csv'] as const)('goes on where it stopped: %s', async (format) => {
    const output = newPath();
    const request = { format, filter: {}, output, fromSeq: 0, toSeq: 1_200 };
    const broken = gatewaySource(await failingAfter(1), undefined);
    await expect(runExport(broken, { ...request, resume: false })).rejects.toThrow(ExportFailed);
    // What a crash leaves of a page.
    await writeFile(output, '{"half a li', { flag: 'a' });
    const result = await runExport(gatewaySource(gateway.url, undefined), { ...request, resume: true });
    expect(result.records).toBe(1_200);
    await expect(stat(`${output}.resume`)).rejects.toThrow('ENOENT');
    const lines = linesIn(await readFile(output, 'utf8'));
    if (format === 'receipts') expect(await verifyReceipt(lines.at(-1) ?? '', believed)).toMatchObject({ ok: true });
    else if (format !== 'csv') expect(await problems(lines)).toEqual([]);
    expect(lines).toHaveLength(format === 'receipts' ? 1_200 : 1_201);
  });

  it('is not continued by another question', async () => {
    const output = newPath();
    const request = { format: 'range', filter: {}, output, fromSeq: 0, toSeq: 1_200 } as const;
    await expect(
      runExport(gatewaySource(await failingAfter(1), undefined), { ...request, resume: false }),
    ).rejects.toThrow();
    const source = gatewaySource(gateway.url, undefined);
    await expect(runExport(source, { ...request, toSeq: 1_199, resume: true })).rejects.toThrow('another export');
    await writeFile(output, '');
    await expect(runExport(source, { ...request, resume: true })).rejects.toThrow('shorter than it was');
  });

  it('is begun with --resume too, but a complete one is not touched', async () => {
    const output = newPath();
    const request = { format: 'range', filter: {}, output, toSeq: 10, resume: true } as const;
    const source = gatewaySource(gateway.url, undefined);
    expect(await runExport(source, request)).toMatchObject({ records: 10 });
    await expect(runExport(source, request)).rejects.toThrow(UsageError);
  });
});

describe('the source', () => {
  it('says what is missing when nothing answers or nothing may be read', async () => {
    expect(() => gatewaySource('nowhere', undefined)).toThrow(UsageError);
    await expect(exported({ format: 'range' }, tokenWith())).rejects.toThrow(UsageError);
  });
});

it.each([
  ['from_seq=-1', 422],
  ['from_seq=x', 422],
  ['limit=0', 422],
  ['limit=1001', 422],
  ['to_seq=0', 200],
  ['from_seq=9007199254740991', 200],
])('GET /api/events/records?%s answers %i', async (query, status) => {
  expect((await gateway.send(`/api/events/records?${query}`)).status).toBe(status);
});
