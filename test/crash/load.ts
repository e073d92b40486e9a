/** The clients: they send events under idempotency keys and call tools, repeat what failed, and keep a ledger. */
import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { type Gateways, type Node, toolServer } from './cluster.ts';
import type { Dice } from './dice.ts';

/** What a client is told of a record of its own. */
export interface Told {
  readonly event_id: string;
  readonly seq: number;
  readonly integrity_hash: string;
}

/** Events that were sent as one request, under one key, until it was acknowledged. */
export interface SentGroup {
  readonly key: string;
  /** Number of its first event. Numbers are never given twice. */
  readonly first: number;
  readonly count: number;
  told: readonly Told[] | undefined;
}

export interface SentCall {
  readonly requestId: string;
  readonly tool: 'read' | 'write';
  /** The record of its outcome, when the client got an answer. */
  auditRef: string | undefined;
}

export interface Ledger {
  readonly groups: SentGroup[];
  readonly calls: SentCall[];
  /** Texts of checkpoints that were served. */
  readonly checkpoints: Set<string>;
  /** What no client should ever be told. */
  readonly faults: string[];
  acknowledged: number;
  /** The longest time in which nobody was told of anything, and when somebody last was. */
  silenceMs: number;
  lastToldMs: number;
  /** Requests that got no answer, or a 5xx. */
  failures: number;
  replays: number;
  conflicts: number;
}

export interface Load {
  readonly ledger: Ledger;
  /** No new requests; resolves when those under way are acknowledged or given up. */
  readonly stop: () => Promise<void>;
}

const clients = 24;
const batchEventsMin = 20;
const batchEventsMax = 150;
// Without a pause the clients would take the processor from the gateways that start again.
const pauseMsMax = 250;
const answerTimeoutMs = 6_000;
// After the end of the load: by then everything has recovered.
const patienceMs = 60_000;

export function startLoad(cluster: Gateways, dice: Dice): Load {
  const ledger: Ledger = {
    groups: [],
    calls: [],
    checkpoints: new Set(),
    faults: [],
    acknowledged: 0,
    silenceMs: 0,
    lastToldMs: performance.now(),
    failures: 0,
    replays: 0,
    conflicts: 0,
  };
  const agent = new Agent({ keepAlive: true });
  const context: Context = { cluster, dice, ledger, agent, isOver: false, next: 0 };
  const running = [...Array.from({ length: clients }, () => client(context)), watchCheckpoints(context)];
  return {
    ledger,
    async stop() {
      context.isOver = true;
      const timer = setTimeout(() => {
        context.isGivenUp = true;
      }, patienceMs);
      await Promise.all(running);
      clearTimeout(timer);
      agent.destroy();
    },
  };
}

interface Context {
  readonly cluster: Gateways;
  readonly dice: Dice;
  readonly ledger: Ledger;
  readonly agent: Agent;
  isOver: boolean;
  isGivenUp?: true;
  next: number;
}

async function client(context: Context): Promise<void> {
  const { dice } = context;
  while (!context.isOver) {
    await delay(dice.below(pauseMsMax));
    const roll = dice.below(100);
    if (roll < 30) await submit(context, 1);
    else if (roll < 70) await submit(context, dice.between(batchEventsMin, batchEventsMax));
    else await callTool(context, roll < 85 ? 'write' : 'read');
  }
}

async function submit(context: Context, count: number): Promise<void> {
  const { dice, ledger } = context;
  const first = context.next;
  context.next += count;
  const group: SentGroup = { key: `key-${first}`, first, count, told: undefined };
  ledger.groups.push(group);
  // Some are sent to two gateways at once.
  const copies = dice.below(100) < 5 ? 2 : 1;
  await Promise.all(Array.from({ length: copies }, () => sendUntilTold(context, group)));
  if (group.told === undefined) return;
  ledger.acknowledged += count;
  if (dice.below(100) < 5) await sendUntilTold(context, group);
  if (dice.below(100) < 3) await sendOther(context, group);
}

async function sendUntilTold(context: Context, group: SentGroup): Promise<void> {
  const { ledger, dice } = context;
  while (context.isGivenUp !== true) {
    const answer = await post(context, pathOf(group), bodyOf(group), { 'idempotency-key': group.key });
    if (answer?.status === 200) {
      note(ledger, group, answer);
      return;
    }
    if (answer !== undefined && answer.status < 500)
      ledger.faults.push(`${group.key}: ${answer.status} ${answer.text}`);
    ledger.failures++;
    await delay(dice.between(20, 200));
  }
}

function note(ledger: Ledger, group: SentGroup, { body, replayed }: Answer): void {
  const told = (group.count === 1 ? [body] : body['events']) as unknown as Told[];
  if (replayed) ledger.replays++;
  const nowMs = performance.now();
  ledger.silenceMs = Math.max(ledger.silenceMs, nowMs - ledger.lastToldMs);
  ledger.lastToldMs = nowMs;
  if (group.told !== undefined && JSON.stringify(places(told)) !== JSON.stringify(places(group.told))) {
    ledger.faults.push(`${group.key}: two answers that differ`);
  }
  group.told ??= told;
}

function places(told: readonly Told[]): unknown {
  return told.map(({ event_id: id, seq, integrity_hash: hash }) => [id, seq, hash]);
}

/** The key of one group under another body, which must be refused by whoever answers. */
async function sendOther(context: Context, group: SentGroup): Promise<void> {
  const { ledger } = context;
  const body = bodyOf({ ...group, first: -1 });
  const answer = await post(context, pathOf(group), body, { 'idempotency-key': group.key });
  if (answer?.status === 409) ledger.conflicts++;
  else if (answer !== undefined && answer.status < 500) ledger.faults.push(`${group.key}: reused, ${answer.status}`);
}

function pathOf({ count }: SentGroup): string {
  return count === 1 ? '/api/events' : '/api/events/batch';
}

function bodyOf({ first, count }: SentGroup): JsonValue {
  const events = Array.from({ length: count }, (_, index) => ({
    event_type: 'load',
    actor: 'client',
    action: 'test',
    metadata: { n: first + index },
  }));
  return count === 1 ? (events[0] as JsonObject) : events;
}

/** A call is made once: nobody may repeat what may have changed something. */
async function callTool(context: Context, tool: 'read' | 'write'): Promise<void> {
  const { ledger } = context;
  const call: SentCall = { requestId: `call-${context.next++}`, tool, auditRef: undefined };
  ledger.calls.push(call);
  const path = `/v1/mcp/servers/${toolServer}/tools/${tool}:call`;
  const answer = await post(context, path, { input: {}, request_id: call.requestId });
  if (answer?.status === 200) call.auditRef = String(answer.body['audit_ref']);
  else ledger.failures++;
  if (answer !== undefined && answer.status < 500 && answer.status !== 200) {
    ledger.faults.push(`${call.requestId}: ${answer.status} ${answer.text}`);
  }
}

async function watchCheckpoints(context: Context): Promise<void> {
  while (!context.isOver) {
    const answer = await ask(context, 'GET', '/log/checkpoint', {});
    if (answer?.status === 200) context.ledger.checkpoints.add(answer.text);
    await delay(250);
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly body: JsonObject;
  readonly replayed: boolean;
}

function post(context: Context, path: string, json: JsonValue, headers: Record<string, string> = {}) {
  const all = { 'content-type': 'application/json', authorization: 'Bearer anybody', ...headers };
  return ask(context, 'POST', path, all, JSON.stringify(json));
}

/** Undefined when no answer came whole, or when there is nobody to ask. */
async function ask(
  { cluster, dice, agent }: Context,
  method: string,
  path: string,
  headers: Record<string, string>,
  text?: string,
): Promise<Answer | undefined> {
  const up = cluster.nodes.filter(({ url }) => url !== undefined);
  const node: Node | undefined = up[dice.below(up.length)];
  if (node?.url === undefined) {
    await delay(50);
    return undefined;
  }
  const url = node.url + path;
  return await new Promise((resolve) => {
    const outgoing = request(url, { method, agent, headers, timeout: answerTimeoutMs });
    outgoing.once('timeout', () => outgoing.destroy());
    outgoing.once('error', () => resolve(undefined));
    outgoing.once('response', (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.once('error', () => resolve(undefined));
      incoming.once('close', () => resolve(incoming.complete ? answerOf(incoming, chunks) : undefined));
    });
    outgoing.end(text);
  });
}

function answerOf(
  incoming: { statusCode?: number | undefined; headers: Record<string, unknown> },
  chunks: readonly Buffer[],
): Answer {
  const text = Buffer.concat(chunks).toString('utf8');
  const isJson = String(incoming.headers['content-type']).includes('json');
  return {
    status: incoming.statusCode ?? 0,
    text,
    body: isJson ? (JSON.parse(text) as JsonObject) : {},
    replayed: incoming.headers['idempotent-replayed'] === 'true',
  };
}
