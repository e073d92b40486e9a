/** What a monitor reads of a running gateway. Nothing of it is believed here: the verifier judges it. */
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import { formatTilePath } from '../../src/core/tile.ts';
import { type EntryTile, Refusal } from '../../verifier/index.ts';
import { assertUrl } from '../gateway-url.ts';
import { fetchPatiently } from '../patient-fetch.ts';
import { UsageError } from '../usage-error.ts';

export interface LogSource {
  /** The newest checkpoint, a note. */
  readonly checkpoint: () => Promise<string>;
  /** The keys that the gateway itself says to sign with. */
  readonly keys: () => Promise<string[]>;
  /** The proof from size to size in base64; empty when the gateway gives none, which proves nothing. */
  readonly consistency: (from: number, to: number) => Promise<string[]>;
  /** The records of a tile, or their hashes when they are pruned. Throws `Refusal` when the log keeps them back. */
  readonly entries: (index: number, width: number) => Promise<EntryTile>;
}

/** The gateway does not answer, or answers that it cannot now. */
export class LogUnreachable extends Error {
  override readonly name = 'LogUnreachable';
}

const attemptsMax = 4;

export function logSource(url: string, token: string | undefined): LogSource {
  assertUrl(url);
  const get = (path: string, headers: Record<string, string> = {}) => answerOf(new URL(path, url), headers);
  return {
    async checkpoint() {
      const response = await get('/log/checkpoint');
      if (response.ok) return await whole(response.text());
      throw await notNow(response);
    },
    async keys() {
      const response = await get('/log/keys');
      if (!response.ok) throw await notNow(response);
      const { keys, retired } = await jsonOf(response);
      const isCurrent = (key: unknown): key is string =>
        typeof key === 'string' && !(Array.isArray(retired) && retired.includes(key));
      return Array.isArray(keys) ? keys.filter(isCurrent) : [];
    },
    async consistency(from, to) {
      const response = await get(`/log/consistency?from=${from}&to=${to}`);
      const { proof } = response.ok ? await jsonOf(response) : {};
      return Array.isArray(proof) ? (proof as string[]) : [];
    },
    async entries(index, width) {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const response = await get(`/log/${formatTilePath({ level: 'entries', index, width })}`, headers);
      if (response.ok) return { bundle: await bytesOf(response) };
      if (response.status === 401 || response.status === 403) throw await mayNot(response);
      const hashes =
        (await jsonOf(response))['code'] === 'RECORD_PRUNED' ? await get(hashPath(index, width)) : undefined;
      if (hashes?.ok === true) return { hashes: await bytesOf(hashes) };
      throw new Refusal(`The log keeps back records that it has signed, from ${index * 256} on.`);
    },
  };
}

function hashPath(index: number, width: number): string {
  return `/log/${formatTilePath({ level: 0, index, width })}`;
}

/** Every answer that is not a matter of time. */
async function answerOf(url: URL, headers: Record<string, string>): Promise<Response> {
  const response = await fetchPatiently(url, headers, attemptsMax);
  if (response === undefined) throw new LogUnreachable(`No gateway answers at ${url.origin}.`);
  if (response.status === 429 || response.status >= 500) throw await notNow(response);
  return response;
}

async function notNow(response: Response): Promise<LogUnreachable> {
  return new LogUnreachable(await sentenceOf(response));
}

async function mayNot(response: Response): Promise<UsageError> {
  return new UsageError(
    `${await sentenceOf(response)} Give a capability for tool:gateway/method:events.read of no single team, or --no-records.`,
  );
}

async function sentenceOf(response: Response): Promise<string> {
  const { message } = await jsonOf(response);
  return `${response.url} answers ${response.status}.${typeof message === 'string' ? ` ${message}` : ''}`;
}

/** The body when it is a JSON object, else an empty one. */
async function jsonOf(response: Response): Promise<JsonObject> {
  const body: unknown = await response.json().catch(() => undefined);
  return isJsonObject(body) ? body : {};
}

async function bytesOf(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await whole(response.arrayBuffer()));
}

async function whole<T>(body: Promise<T>): Promise<T> {
  return await body.catch(() => {
    throw new LogUnreachable('The gateway stopped in the middle of an answer.');
  });
}
