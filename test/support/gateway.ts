/** A whole gateway for tests: the real app on a free port, with a database of its own, real tool servers and a log to read. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import pg from 'pg';
import { type Gateway, startGateway } from '../../src/app.ts';
import { loadConfig } from '../../src/config/config.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { testNowSec, trustedIssuer } from './issuer.ts';
import { createTestDatabase, type TestDatabase } from './postgres.ts';

export interface TestGatewayOptions {
  /** Added to the environment of development mode, or in place of it. */
  readonly env?: Readonly<Record<string, string>>;
  /** URLs of tool servers by id. */
  readonly servers?: Readonly<Record<string, string>>;
  /** The text of `talos.config.yaml`. */
  readonly file?: string;
  readonly clock?: Clock;
  /** Another way to the gateway's database than its own URL. */
  readonly databaseUrl?: (url: string) => string;
}

export interface TestGateway {
  readonly url: string;
  readonly database: TestDatabase;
  /** Everything that was logged, as text. */
  readonly logText: () => string;
  readonly logLines: () => JsonObject[];
  /** What `startGateway` returned, for tests of its end. */
  readonly gateway: Gateway;
  readonly send: Send;
  /** Stops the gateway and drops the database. */
  readonly stop: () => Promise<void>;
}

const developmentEnv = { DEV_MODE: 'true', TALOS_TRUSTED_ISSUERS: trustedIssuer.did };

export const productionEnv = {
  DEV_MODE: 'false',
  // Tests ask faster than anybody should; those of the limits turn them on.
  TALOS_RATE_LIMIT: 'false',
  AUTH_ADMIN_SECRET: 'an admin secret that only this test knows',
  TALOS_TRUSTED_ISSUERS: trustedIssuer.did,
};

export async function startTestGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  const database = await createTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'talos-gateway-'));
  const release = async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  };
  try {
    if (options.file !== undefined) await writeFile(join(folder, 'talos.config.yaml'), options.file);
    const { sink, text } = collector();
    const url = options.databaseUrl?.(database.url) ?? database.url;
    const { config, secrets } = loadConfig({ env: environment(options, url), cwd: folder });
    const telemetry = createTelemetry({ level: 'trace', destination: sink });
    const clock = options.clock ?? systemClock;
    const gateway = await startGateway({ config, secrets, telemetry, clock, signal: new AbortController().signal });
    const stop = async () => {
      await gateway.stop();
      await release();
    };
    return {
      url: gateway.url,
      database,
      gateway,
      stop,
      logText: text,
      logLines: () => linesOf(text()),
      send: sender(gateway.url),
    };
  } catch (error) {
    await release();
    throw error;
  }
}

function environment(options: TestGatewayOptions, databaseUrl: string): Record<string, string> {
  const servers = Object.entries(options.servers ?? {}).map(([id, url]) => [`MCP_SERVER_${id.toUpperCase()}`, url]);
  return {
    ...developmentEnv,
    TALOS_GATEWAY_PORT: '0',
    DATABASE_URL: databaseUrl,
    ...Object.fromEntries(servers),
    ...options.env,
  };
}

function collector(): { sink: Writable; text: () => string } {
  const chunks: string[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  return { sink, text: () => chunks.join('') };
}

function linesOf(text: string): JsonObject[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JsonObject);
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed body, when it is a JSON object. */
  readonly body: JsonObject;
  readonly text: string;
}

export interface SendOptions {
  readonly method?: string;
  /** Sent as JSON. */
  readonly json?: JsonValue;
  /** Sent as it is. */
  readonly raw?: string | Uint8Array | ReadableStream;
  /** The Bearer token. */
  readonly token?: string;
  /** For `X-Talos-Capability`. */
  readonly capability?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export type Send = (path: string, options?: SendOptions) => Promise<Answer>;

/** Sends requests to the gateway at `url`. */
export function sender(url: string): Send {
  return async (path, options = {}) => {
    const response = await fetch(url + path, requestOf(options));
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: jsonObject(text), text };
  };
}

function requestOf(options: SendOptions): RequestInit {
  const body = options.json === undefined ? options.raw : JSON.stringify(options.json);
  return {
    method: options.method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(options.capability === undefined ? {} : { 'x-talos-capability': options.capability }),
      ...options.headers,
    },
    ...(body === undefined ? {} : { body, duplex: 'half' }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
}

function jsonObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
  } catch {
    return {};
  }
}

export interface ToolCallOptions extends SendOptions {
  readonly server?: string;
  readonly requestId?: string;
  readonly sessionId?: string;
}

/** Calls a tool by its name, encoded as clients encode it. */
export function callTool(
  gateway: TestGateway,
  tool: string,
  input: JsonObject = {},
  options: ToolCallOptions = {},
): Promise<Answer> {
  const { server = 'tested', requestId, sessionId, ...rest } = options;
  const json = {
    input,
    ...(requestId === undefined ? {} : { request_id: requestId }),
    ...(sessionId === undefined ? {} : { session_id: sessionId }),
  };
  return gateway.send(`/v1/mcp/servers/${server}/tools/${encodeURIComponent(tool)}:call`, {
    token: 'anybody',
    json,
    ...rest,
  });
}

/** The strict record that an answer refers to, as a development user or with a capability may read it. */
export async function recordOf(
  gateway: TestGateway,
  answer: Answer,
  token?: string,
): Promise<{ record: JsonObject; meta: JsonObject; item: JsonObject }> {
  const ref = answer.headers.get('x-talos-audit-ref');
  if (ref === null) throw new Error(`an answer without a record: ${answer.status} ${answer.text}`);
  const { body, status } = await gateway.send(`/api/events/${ref}`, token === undefined ? {} : { token });
  if (status !== 200) throw new Error(`the record cannot be read: ${status}`);
  const record = body['record'] as JsonObject;
  return { record, meta: record['meta'] as JsonObject, item: body['item'] as JsonObject };
}

/** All items, newest first. */
export async function itemsOf(gateway: TestGateway, query = 'limit=500'): Promise<JsonObject[]> {
  const { body } = await gateway.send(`/api/events?${query}`);
  return body['items'] as unknown as JsonObject[];
}

/** The same without what only says that a call was about to be made, and what the gateway notes by itself. */
export async function outcomesOf(gateway: TestGateway, query?: string): Promise<JsonObject[]> {
  return (await itemsOf(gateway, query)).filter(
    (item) => !['intent', 'note'].includes(String((item['meta'] as JsonObject)['phase'])),
  );
}

/** Every row of every table, as text. */
export async function dumpOf(gateway: TestGateway): Promise<string> {
  const client = new pg.Client({ connectionString: gateway.database.url });
  await client.connect();
  try {
    const tables = await client.query<{ name: string }>(
      "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    );
    const texts: string[] = [];
    for (const { name } of tables.rows) {
      const { rows } = await client.query<{ text: string }>(`SELECT t::text AS text FROM ${name} AS t`);
      texts.push(name, ...rows.map(({ text }) => text));
    }
    return texts.join('\n');
  } finally {
    await client.end();
  }
}

/** Wall time that stands until it is set, at the moment that test tokens are good at; durations are real. */
export function wallClock(nowSec = testNowSec): Clock & { nowSec: number } {
  return {
    nowSec,
    now() {
      return this.nowSec * 1000;
    },
    monotonic: () => performance.now(),
  };
}

/** Waits until `condition` gives something other than undefined or false. */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  deadlineMs = 10_000,
): Promise<Exclude<T, undefined | false>> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
