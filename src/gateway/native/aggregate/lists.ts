/**
 * Lists of what all servers have that the caller may use: page by page of all of them at once, each under the name that it
 * is used by here. A listing opens no session with a server, and waits for none that is slow.
 */
import { bounds } from '../../../config/bounds.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../../core/json.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import type { UpstreamSession } from '../../../mcp/upstream-session.ts';
import type { Passage } from '../../passage.ts';
import { mayUse } from '../../rpc-authority.ts';
import { invalidParams, type Method, type MethodOptions } from '../methods/method.ts';
import type { Turn } from '../turn.ts';
import { decodeListCursor, encodeListCursor, firstPage } from './list-cursor.ts';
import { nameAmongAll, uriAmongAll } from './names.ts';
import { answerAmongAll, serverIdsFor } from './servers.ts';

interface Kind {
  readonly method: string;
  /** What a server that has any of it says that it has. */
  readonly capability: string;
  /** The member of the result. */
  readonly list: string;
  /** The member of an item that it is used by, and what becomes of that. */
  readonly key: string;
  readonly amongAll: (serverId: string, key: string) => string;
  /** The right to use an item. */
  readonly use: string;
  /** Whether a right can be to this one alone. */
  readonly isOne: boolean;
}

/** What one server is asked for its part of a page. */
interface Question {
  readonly options: MethodOptions;
  readonly turn: Turn;
  readonly kind: Kind;
  readonly serverId: string;
  /** The server's own; undefined at the beginning. */
  readonly cursor: string | undefined;
}

/** One server's part of a page. */
interface Part {
  readonly serverId: string;
  readonly items: readonly JsonObject[];
  readonly cursor?: string;
}

const resources = { capability: 'resources', use: 'resources/read', amongAll: uriAmongAll };
const prompts = { capability: 'prompts', use: 'prompts/get', amongAll: nameAmongAll };

const kinds: readonly Kind[] = [
  { ...resources, method: 'resources/list', list: 'resources', key: 'uri', isOne: true },
  { ...resources, method: 'resources/templates/list', list: 'resourceTemplates', key: 'uriTemplate', isOne: false },
  { ...prompts, method: 'prompts/list', list: 'prompts', key: 'name', isOne: true },
];

export const aggregateLists: readonly (readonly [string, Method])[] = kinds.map((kind) => [kind.method, listOf(kind)]);

function listOf(kind: Kind): Method {
  return async (options, turn, { params }) => {
    const { cursor = null } = params as { readonly cursor?: JsonValue };
    const from = cursor === null ? firstPage : decodeListCursor(cursor);
    if (from === undefined) return invalidParams('The cursor is not one of this list. Begin without one.');
    // That nothing can be recorded is no empty list.
    await options.recorder.ensureWritable();
    const ids = serverIdsFor(options, turn.caller);
    const asked = cursor === null ? ids : ids.filter((id) => from.at.has(id));
    const parts = await Promise.all(
      asked.map((serverId) => partOf({ options, turn, kind, serverId, cursor: from.at.get(serverId) })),
    );
    const further = parts.flatMap(({ serverId, cursor }) =>
      cursor === undefined ? [] : [[serverId, cursor] as const],
    );
    const nextCursor = encodeListCursor({ pages: from.pages + 1, at: new Map(further) });
    const items = parts.flatMap(({ items }) => items);
    return { result: { [kind.list]: items, ...(nextCursor === undefined ? {} : { nextCursor }) } };
  };
}

/** Nothing of a server that the caller may not ask for it, or that is down or slow. */
async function partOf(question: Question): Promise<Part> {
  const { options, turn, kind, serverId, cursor } = question;
  const nothing = { serverId, items: [] };
  if (!mayUse(kind.method, serverId, turn.caller, options.policyMode)) return nothing;
  const what = cursor === undefined ? kind.method : undefined;
  const answer = await answerAmongAll(options, turn, serverId, what, (...whom) => ask(question, ...whom));
  return answer === undefined ? nothing : readPart(question, answer);
}

/** The result; undefined of a server that has none. Throws as `RelayMethod` does. */
async function ask(
  { options, turn: { caller, facts, session }, kind: { method, capability }, cursor }: Question,
  signal: AbortSignal,
  server: McpServer,
  own: UpstreamSession | undefined,
): Promise<JsonObject | undefined> {
  const { capabilities } = own?.hello ?? (await server.hello(signal));
  if (capabilities[capability] === undefined) return undefined;
  // What the server has for this client alone is listed where the client has a session there already.
  const passage: Passage = own === undefined ? {} : { lineTo: async () => own };
  const { answer } = await options.relayMethod({
    ...{ caller, facts, serverId: server.id, method, signal, passage, by: 'mcp.native.all' },
    params: cursor === undefined ? {} : { cursor },
    ...(session === undefined ? {} : { sessionName: session.name }),
  });
  return answer.kind === 'result' ? answer.result : undefined;
}

function readPart({ options, turn, kind, serverId, cursor }: Question, result: JsonObject): Part {
  const { list, key, use, isOne, amongAll } = kind;
  const { [list]: listed, nextCursor } = result as Readonly<Record<string, JsonValue | undefined>>;
  const items = (Array.isArray(listed) ? listed : []).flatMap((item) => {
    const name = isJsonObject(item) ? item[key] : undefined;
    if (typeof name !== 'string') return [];
    const isUsable = mayUse(use, serverId, turn.caller, options.policyMode, isOne ? name : undefined);
    return isUsable ? [{ ...(item as JsonObject), [key]: amongAll(serverId, name) }] : [];
  });
  return { serverId, items, ...(goesOn(nextCursor, cursor) ? { cursor: nextCursor } : {}) };
}

/** A server that leads in a circle is left, because the others' lists would have no end either. */
function goesOn(next: JsonValue | undefined, cursor: string | undefined): next is string {
  return typeof next === 'string' && next !== cursor && next !== '' && next.length <= bounds.aggregateCursorCharsMax;
}
