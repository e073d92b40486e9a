/** An external audit service: takes records over HTTP, checks their hashes and keeps them in the order of arrival. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import canonicalize from 'canonicalize';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';

export interface AuditService {
  readonly url: string;
  /** What it has taken, oldest first. */
  readonly taken: readonly JsonObject[];
  /** Requests of any kind. */
  readonly requests: () => number;
  /** Whether two requests were ever under way at once. */
  readonly overlapped: () => boolean;
  /** Answers instead of taking the record; undefined takes it. */
  answer: ((record: JsonObject, response: ServerResponse) => boolean) | undefined;
  readonly close: () => Promise<void>;
}

export async function startAuditService(): Promise<AuditService> {
  const taken: JsonObject[] = [];
  const ids = new Set<unknown>();
  let requests = 0;
  let underWay = 0;
  let overlapped = false;
  const service: { answer: AuditService['answer'] } = { answer: undefined };

  function take(record: JsonObject): number {
    const { event_hash: hash, ...rest } = record;
    if (hash !== sha256Hex(canonicalize(rest) ?? '') || !('resource' in rest)) return 400;
    if (ids.has(record['event_id'])) return 409;
    ids.add(record['event_id']);
    taken.push(record);
    return 200;
  }

  const server = createServer(async (request, response) => {
    requests++;
    overlapped ||= underWay > 0;
    underWay++;
    response.once('close', () => {
      underWay--;
    });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const isIngest = request.method === 'POST' && request.url === '/base/api/events/ingest';
    if (!isIngest) return response.writeHead(404).end();
    const record = JSON.parse(Buffer.concat(chunks).toString()) as JsonObject;
    if (service.answer?.(record, response) === true) return undefined;
    return response.writeHead(take(record), { 'content-type': 'application/json' }).end('{}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return Object.assign(service, {
    url: `http://127.0.0.1:${port}/base`,
    taken,
    requests: () => requests,
    overlapped: () => overlapped,
    async close() {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, 'close');
    },
  });
}
