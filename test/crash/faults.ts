/**
 * What goes wrong: gateways are killed, stopped for five seconds and cut off from the store, and the store crashes. Most
 * of it is aimed at a moment inside a batch, which the way to the store knows; some of it comes at any time.
 */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Action, Link, Step, When } from '../support/wire-proxy.ts';
import { type Cluster, isInTransaction, type Node } from './cluster.ts';
import type { Dice } from './dice.ts';

export interface FaultCounts {
  kills: number;
  /** The server had said that the gateway's transaction was open, and not that it had ended, when SIGKILL was sent. */
  killsInTransaction: number;
  /** In order: the head was held, half of the rows were sent, the commit was sent. */
  readonly killsAt: Record<string, number>;
  stops: number;
  stopsInTransaction: number;
  /** A connection of a gateway that lived on was lost after its COMMIT had been sent, before it knew of the answer. */
  ambiguous: number;
  storeCrashes: number;
  missed: number;
}

export interface Faults {
  readonly counts: FaultCounts;
  /** No new faults; resolves when every gateway is up and the store runs. */
  readonly stop: () => Promise<void>;
}

type Moment = readonly [Step, When, Action, string];

const held: Moment = ['lock', 'after', 'pass', 'head held'];
const midway: Moment = ['commit', 'midway', 'half', 'half of the rows sent'];
const sent: Moment = ['commit', 'sent', 'cut', 'commit sent'];
const answered: Moment = ['commit', 'after', 'cut', 'commit answered'];

const stopMs = 5_000;
const trapMs = 1_500;
// The supervisor starts a server that keeps on crashing ever more slowly, until it ran for a minute.
const storeCrashesMs = [12_000, 14_000, 15_000, 70_000];

interface Context {
  readonly cluster: Cluster;
  readonly dice: Dice;
  readonly counts: FaultCounts;
  /** What is being recovered from. */
  readonly recoveries: Set<Promise<void>>;
  isOver: boolean;
}

export function startFaults(cluster: Cluster, dice: Dice): Faults {
  const counts: FaultCounts = {
    kills: 0,
    killsInTransaction: 0,
    killsAt: {},
    stops: 0,
    stopsInTransaction: 0,
    ambiguous: 0,
    storeCrashes: 0,
    missed: 0,
  };
  const context: Context = { cluster, dice, counts, recoveries: new Set(), isOver: false };
  const over = new AbortController();
  const running = [aimAtGateways(context), crashStoreNowAndThen(context, over.signal)];
  return {
    counts,
    async stop() {
      context.isOver = true;
      over.abort();
      await Promise.all(running);
      while (context.recoveries.size > 0) await Promise.all(context.recoveries);
    },
  };
}

async function aimAtGateways(context: Context): Promise<void> {
  const { cluster, dice } = context;
  while (!context.isOver) {
    await delay(dice.between(50, 250));
    const up = cluster.nodes.filter(({ url }) => url !== undefined);
    const node = up[dice.below(up.length)];
    if (node === undefined) continue;
    const roll = dice.below(100);
    // At least two gateways go on working.
    if (roll < 70 && up.length > 2)
      await kill(context, node, dice.oneOf([held, held, midway, midway, sent, sent, answered, undefined]));
    else if (roll < 78 && up.length > 2) await stop(context, node, dice.oneOf([held, midway, undefined]));
    else if (roll >= 78) await cut(context, node, dice.oneOf([sent, answered]));
  }
}

async function kill(context: Context, node: Node, moment: Moment | undefined): Promise<void> {
  const { counts } = context;
  const strike = (link?: Link) => {
    const isInside = link === undefined ? isInTransaction(node) : link.inTransaction;
    node.url = undefined;
    node.child?.kill('SIGKILL');
    counts.kills++;
    if (isInside) counts.killsInTransaction++;
    const name = moment?.[3] ?? 'any time';
    counts.killsAt[name] = (counts.killsAt[name] ?? 0) + 1;
  };
  if (!(await strikeAt(context, node, moment, strike))) return;
  recover(context, async () => {
    const { child } = node;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    await context.cluster.start(node);
  });
}

async function stop(context: Context, node: Node, moment: Moment | undefined): Promise<void> {
  const { counts } = context;
  let link: Link | undefined;
  const url = node.url;
  const strike = (at?: Link) => {
    link = at;
    counts.stops++;
    if (at === undefined ? isInTransaction(node) : at.inTransaction) counts.stopsInTransaction++;
    node.child?.kill('SIGSTOP');
  };
  if (!(await strikeAt(context, node, moment, strike))) return;
  recover(context, async () => {
    // Clients go on asking it for a while.
    await delay(stopMs / 2);
    node.url = undefined;
    await delay(stopMs / 2);
    link?.release();
    node.child?.kill('SIGCONT');
    node.url = url;
  });
}

async function cut(context: Context, node: Node, moment: Moment): Promise<void> {
  await strikeAt(context, node, moment, () => {
    context.counts.ambiguous++;
  });
}

/** Strikes at once, or at the moment when the gateway comes to it. False when it did not in time. */
async function strikeAt(
  { counts }: Context,
  node: Node,
  moment: Moment | undefined,
  strike: (link?: Link) => void,
): Promise<boolean> {
  if (moment === undefined) {
    strike();
    return true;
  }
  const [step, when, action] = moment;
  const isStruck = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), trapMs);
    node.trap = {
      step,
      when,
      spring(link) {
        clearTimeout(timer);
        strike(link);
        resolve(true);
        return action;
      },
    };
  });
  node.trap = undefined;
  if (!isStruck) counts.missed++;
  return isStruck;
}

function recover({ recoveries }: Context, work: () => Promise<void>): void {
  const recovery = work().finally(() => recoveries.delete(recovery));
  recoveries.add(recovery);
}

async function crashStoreNowAndThen(context: Context, signal: AbortSignal): Promise<void> {
  for (let crash = 0; !context.isOver; crash++) {
    const waitMs = storeCrashesMs[Math.min(crash, storeCrashesMs.length - 1)];
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
    if (context.isOver) return;
    await context.cluster.crashStore().then(
      () => context.counts.storeCrashes++,
      () => undefined,
    );
  }
}
