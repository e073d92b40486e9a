/**
 * Those who watch while everything fails: each goes on behind the last record that it took, at whichever gateway is up.
 * What they saw must be the log from the first of it to the last, in order, without a hole.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type LogStream, openStream } from '../../packages/stream-client/index.ts';
import type { CheckedRecord } from '../support/log-checker.ts';
import type { Gateways, Node } from './cluster.ts';
import type { Dice } from './dice.ts';

export interface Subscriber {
  /** Ids of records in the order in which they came, each cursor once. */
  readonly seen: string[];
  /** Streams that were opened, and items that came again. */
  streams: number;
  repeated: number;
  gaps: number;
}

export interface Subscribers {
  readonly all: readonly Subscriber[];
  /** Resolves when all of them have seen the record, or a minute has passed. */
  readonly reached: (eventId: string) => Promise<void>;
  readonly stop: () => Promise<void>;
}

const subscribers = 3;
/** However well it goes, a subscriber leaves its gateway after a while. */
const stayMs = { min: 500, max: 6_000 };
const patienceMs = 60_000;

export function startSubscribers(cluster: Gateways, dice: Dice): Subscribers {
  const context: Context = { cluster, dice, isOver: false, streams: new Set() };
  const all = Array.from({ length: subscribers }, () => ({ seen: [], streams: 0, repeated: 0, gaps: 0 }));
  const running = all.map((subscriber) => subscribe(context, subscriber));
  return {
    all,
    async reached(eventId) {
      const end = performance.now() + patienceMs;
      while (performance.now() < end && !all.every(({ seen }) => (seen.at(-1) ?? '') >= eventId)) await delay(50);
    },
    async stop() {
      context.isOver = true;
      for (const stream of context.streams) stream.close();
      await Promise.all(running);
    },
  };
}

interface Context {
  readonly cluster: Gateways;
  readonly dice: Dice;
  readonly streams: Set<LogStream>;
  isOver: boolean;
}

async function subscribe(context: Context, subscriber: Subscriber): Promise<void> {
  const cursors = new Set<string>();
  let after = '';
  while (!context.isOver) {
    const up = context.cluster.nodes.filter(({ url }) => url !== undefined);
    const node = up[context.dice.below(up.length)];
    if (node?.url === undefined) await delay(50);
    else after = await watch(context, subscriber, { node, url: node.url, after, cursors });
  }
}

interface Watch {
  readonly node: Node;
  readonly url: string;
  readonly after: string;
  readonly cursors: Set<string>;
}

/** Watches one gateway until it is gone or enough was seen of it; returns where to go on. */
async function watch(context: Context, subscriber: Subscriber, at: Watch): Promise<string> {
  const stream = openStream({ urls: [at.url], ...(at.after === '' ? {} : { after: at.after }) });
  context.streams.add(stream);
  subscriber.streams++;
  const leaveAtMs = performance.now() + context.dice.between(stayMs.min, stayMs.max);
  const leaving = setInterval(() => {
    // A gateway that starts again has another address.
    if (performance.now() > leaveAtMs || at.node.url !== at.url) stream.close();
  }, 50);
  for await (const item of stream) {
    if (item.type === 'gap') subscriber.gaps++;
    else if (at.cursors.has(item.cursor)) subscriber.repeated++;
    else subscriber.seen.push(String(item.event['event_id']));
    if (item.type === 'event') at.cursors.add(item.cursor);
  }
  clearInterval(leaving);
  context.streams.delete(stream);
  return stream.cursor;
}

/** What is wrong with what they saw; they must have come as far as the record `lastId`. */
export function judgeSubscribers({ all }: Subscribers, records: readonly CheckedRecord[], lastId: string): string[] {
  return all.flatMap((subscriber, n) => judgeSubscriber(`subscriber ${n + 1}`, subscriber, records, lastId));
}

function judgeSubscriber(
  name: string,
  { seen, gaps }: Subscriber,
  records: readonly CheckedRecord[],
  lastId: string,
): string[] {
  const first = records.findIndex(({ eventId }) => eventId === seen[0]);
  if (first < 0) return [`${name} saw nothing, or what is not in the log`];
  const wrong = seen.findIndex((eventId, index) => records[first + index]?.eventId !== eventId);
  const faults = gaps > 0 ? [`${name} was told of ${gaps} gaps`] : [];
  if (wrong >= 0) faults.push(`${name} saw ${seen[wrong]} where the log has record ${first + wrong}`);
  if ((seen.at(-1) ?? '') < lastId) faults.push(`${name} did not see the end of the log`);
  return faults;
}
