/** What an export reads from a running gateway: pages of records, the newest checkpoint, and nodes of the tree. */
import { canonicalize } from '../../src/core/canonical-json.ts';
import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { LruMap } from '../../src/core/lru-map.ts';
import type { NodeReader } from '../../src/core/merkle-proof.ts';
import { parseNote } from '../../src/core/note.ts';
import { formatTilePath, nodeOfTile, placeOfNode } from '../../src/core/tile.ts';
import { tileWidth } from '../../src/core/tree-edge.ts';
import { assertUrl } from '../gateway-url.ts';
import { fetchPatiently } from '../patient-fetch.ts';
import { UsageError } from '../usage-error.ts';

/** A record as it is exported. */
export interface ExportedRecord {
  readonly leafIndex: number;
  /** The canonical record, byte for byte as it was hashed. */
  readonly canon: string;
  readonly record: JsonObject;
  /** Canonical JSON of the details, when there are any. */
  readonly details: string | undefined;
}

export interface SignedHead {
  readonly size: number;
  readonly note: string;
}

export interface ExportSource {
  /** A page of records from `firstSeq` on, before `endSeq`; empty when there are no more. */
  readonly page: (
    firstSeq: number,
    endSeq: number,
    query?: URLSearchParams,
    limit?: number,
  ) => Promise<ExportedRecord[]>;
  readonly checkpoint: () => Promise<SignedHead>;
  /** Reads nodes of the tree of `size` leaves. */
  readonly nodes: (size: number) => NodeReader;
}

/** The gateway stopped answering as it should; what was exported so far stays. */
export class ExportFailed extends Error {
  override readonly name = 'ExportFailed';
}

const attemptsMax = 6;
const tilesKept = 1_024;

export function gatewaySource(url: string, token: string | undefined): ExportSource {
  assertUrl(url);
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const get = (path: string) => request(new URL(path, url), headers);
  return {
    async page(firstSeq, endSeq, query = new URLSearchParams(), limit) {
      const asked = new URLSearchParams(query);
      asked.set('from_seq', String(firstSeq));
      asked.set('to_seq', String(endSeq));
      if (limit !== undefined) asked.set('limit', String(limit));
      const text = await (await get(`/api/events/records?${asked}`)).text();
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map(readLine);
    },
    async checkpoint() {
      const note = await (await get('/log/checkpoint')).text();
      return { size: parseCheckpoint(parseNote(note).text).size, note };
    },
    nodes: (size) => nodeReader(size, async (path) => Buffer.from(await (await get(`/log/${path}`)).arrayBuffer())),
  };
}

/** The record of a line of the gateway. */
function readLine(line: string): ExportedRecord {
  const { leaf_index: leafIndex, record, details } = JSON.parse(line) as JsonObject;
  if (typeof leafIndex !== 'number' || !isJsonObject(record))
    throw new ExportFailed('A line of the gateway is no record.');
  return {
    leafIndex,
    record,
    canon: canonicalize(record),
    details: details === undefined ? undefined : canonicalize(details),
  };
}

function nodeReader(size: number, read: (path: string) => Promise<Buffer>): NodeReader {
  const tiles = new LruMap<Promise<Buffer>>(tilesKept);
  const tileOf = (level: number, index: number) => {
    const width = Math.min(tileWidth, Math.floor(size / tileWidth ** level) - index * tileWidth);
    const path = formatTilePath({ level, index, width });
    const tile = tiles.get(path) ?? read(path);
    tiles.set(path, tile);
    return tile;
  };
  return (ids) =>
    Promise.all(
      ids.map(async (id) => {
        const place = placeOfNode(id);
        const node = nodeOfTile(await tileOf(place.level, place.index), place);
        if (node === undefined)
          throw new ExportFailed(`Tile ${place.level}/${place.index} of the gateway is too short.`);
        return node;
      }),
    );
}

async function request(url: URL, headers: Record<string, string>): Promise<Response> {
  const response = await fetchPatiently(url, headers, attemptsMax);
  if (response?.ok === true) return response;
  throw await failure(url, response);
}

async function failure(url: URL, response: Response | undefined): Promise<Error> {
  if (response === undefined) return new ExportFailed(`No gateway answers at ${url.origin}.`);
  const body: unknown = await response.json().catch(() => undefined);
  const message = isJsonObject(body) && typeof body['message'] === 'string' ? ` ${body['message']}` : '';
  const sentence = `${url.origin}${url.pathname} answers ${response.status}.${message}`;
  if (response.status !== 401 && response.status !== 403) return new ExportFailed(sentence);
  return new UsageError(`${sentence} Give a capability for tool:gateway/method:events.read.`);
}
