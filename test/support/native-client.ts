/** An MCP client by hand: it sees every status, header and event, and can do what the official clients never would. */
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { eventually } from './gateway.ts';

export interface EventStream {
  readonly status: number;
  readonly headers: Headers;
  readonly events: readonly { readonly id: string | undefined; readonly message: JsonObject }[];
  /** Ids of all events, those without a message included. */
  readonly ids: readonly string[];
  /** What readers of events do not see. */
  readonly comments: readonly string[];
  /** Waits for the first message that fits. */
  readonly message: (fits: (message: JsonObject) => boolean) => Promise<JsonObject>;
  /** Waits for the first message of the method. */
  readonly said: (method: string) => Promise<JsonObject>;
  /** Waits for the answer to the request. */
  readonly answer: (id: JsonValue) => Promise<JsonObject>;
  /** The body, when it is no stream. */
  readonly body: () => JsonObject;
  /** Resolves when the stream is over; true when it was cut. */
  readonly over: Promise<boolean>;
  readonly cut: () => void;
}

export interface NativeOptions {
  readonly path?: string;
  readonly token?: string;
  readonly sessionId?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export const both = 'application/json, text/event-stream';

/** A request to the endpoint, with its answer as it comes. */
export async function ask(
  url: string,
  options: NativeOptions & { readonly method?: 'POST' | 'GET' | 'DELETE'; readonly message?: JsonValue },
): Promise<EventStream> {
  const { path = '/mcp/reference', message, method = message === undefined ? 'GET' : 'POST' } = options;
  const leave = new AbortController();
  const response = await fetch(url + path, {
    method,
    headers: headersOf(options),
    signal: leave.signal,
    ...(message === undefined ? {} : { body: JSON.stringify(message) }),
  });
  const read = new Reading(response);
  const seen = (fits: (message: JsonObject) => boolean) =>
    eventually(() => [...read.events.map(({ message: each }) => each), ...read.whole()].find(fits), 20_000);
  return {
    status: response.status,
    headers: response.headers,
    events: read.events,
    ids: read.ids,
    comments: read.comments,
    message: seen,
    said: (said) => seen((each) => each['method'] === said),
    answer: (id) => seen((each) => each['id'] === id && each['method'] === undefined),
    body: () => read.whole()[0] ?? {},
    over: read.over,
    cut: () => leave.abort(),
  };
}

function headersOf({ token, sessionId, headers, message }: NativeOptions & { readonly message?: JsonValue }) {
  return {
    accept: both,
    ...(message === undefined ? {} : { 'content-type': 'application/json' }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(sessionId === undefined ? {} : { 'mcp-session-id': sessionId }),
    ...headers,
  };
}

class Reading {
  readonly events: { id: string | undefined; message: JsonObject }[] = [];
  readonly ids: string[] = [];
  readonly comments: string[] = [];
  readonly over: Promise<boolean>;
  readonly #isStream: boolean;
  #text = '';

  constructor(response: Response) {
    this.#isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
    this.over = this.#read(response);
  }

  /** A body that is one message. */
  whole(): JsonObject[] {
    if (this.#isStream || !this.#text.endsWith('}')) return [];
    return [JSON.parse(this.#text) as JsonObject];
  }

  async #read(response: Response): Promise<boolean> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        this.#text += decoder.decode(chunk as Uint8Array, { stream: true });
        if (this.#isStream) this.#takeEvents();
      }
      return false;
    } catch {
      return true;
    }
  }

  #takeEvents(): void {
    const parts = this.#text.split('\n\n');
    this.#text = parts.pop() ?? '';
    for (const part of parts) this.#take(part);
  }

  #take(part: string): void {
    if (part.startsWith(': ')) this.comments.push(part.slice(2));
    const fields = part.split('\n').map((line) => /^(\w+): ?(.*)$/.exec(line) ?? []);
    const field = (name: string) => fields.find(([, found]) => found === name)?.[2];
    const [id, data] = [field('id'), field('data')];
    if (id !== undefined) this.ids.push(id);
    if (data !== undefined && data !== '') this.events.push({ id, message: JSON.parse(data) as JsonObject });
  }
}

export function request(method: string, params: JsonObject = {}, id: JsonValue = 1): JsonObject {
  return { jsonrpc: '2.0', id, method, params };
}

export function notification(method: string, params: JsonObject = {}): JsonObject {
  return { jsonrpc: '2.0', method, params };
}

/** Everything that a client can offer. */
export const everything: JsonObject = { sampling: {}, elicitation: {}, roots: { listChanged: true } };

/** A session, by hand. Its GET stream is open when it is asked for. */
export async function initialize(
  url: string,
  options: NativeOptions & { readonly capabilities?: JsonObject; readonly version?: string } = {},
): Promise<Required<Pick<NativeOptions, 'sessionId'>> & NativeOptions & { readonly answer: EventStream }> {
  const { capabilities = everything, version = '2025-11-25', ...rest } = options;
  const params = { protocolVersion: version, capabilities, clientInfo: { name: 'by hand', version: '1' } };
  const answer = await ask(url, { ...rest, message: request('initialize', params, 'init') });
  await answer.over;
  const sessionId = answer.headers.get('mcp-session-id');
  if (sessionId === null) throw new Error(`no session: ${answer.status} ${JSON.stringify(answer.body())}`);
  const session = { ...rest, sessionId };
  await ask(url, { ...session, message: notification('notifications/initialized') });
  return { ...session, answer };
}

/** A request of the stateless era, with the headers that it needs. */
export function stateless(
  method: string,
  params: JsonObject = {},
  meta: JsonObject = {},
  id: JsonValue = 1,
): { readonly message: JsonObject; readonly headers: Record<string, string> } {
  const envelope = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
    'io.modelcontextprotocol/clientInfo': { name: 'by hand', version: '1' },
    ...meta,
  };
  const name = params['name'] ?? params['uri'];
  return {
    message: request(method, { ...params, _meta: envelope }, id),
    headers: {
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
      ...(typeof name === 'string' ? { 'mcp-name': name } : {}),
    },
  };
}
