/**
 * The pins of tools as this process knows them. Whether they changed is asked all the time, in one row, and only what did
 * is read. When nobody can say, what is known stays: an older pin never lets through what a newer one would not have let
 * through then.
 */
import type { Clock } from '../core/clock.ts';
import { Poller } from '../shared-state/poller.ts';
import type { KnownPin, PinNews, ToolPinStore } from '../storage/tool-pins.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';

export interface PinBook {
  readonly of: (serverId: string, toolName: string) => KnownPin | undefined;
  /** When this process learnt of the last change of a pin, that it was forgotten included, by the clock that only moves forward. */
  readonly changedAtMs: (serverId: string, toolName: string) => number;
  /** How many pins a server has. */
  readonly countOf: (serverId: string) => number;
  /** All of them, in no order. */
  readonly all: () => Iterable<KnownPin>;
  /**
   * Calls back with each server of which another definition was approved or rejected, or a pin forgotten, wherever that was
   * done. The returned function calls that off.
   */
  readonly onDecided: (listener: OnDecided) => () => void;
  /** Asks at once, so that a change that was just made is seen. Throws `STORE_UNAVAILABLE`. */
  readonly refresh: () => Promise<void>;
  readonly close: () => Promise<void>;
}

type OnDecided = (serverId: string) => void;
type NamedTool = PinNews['forgotten'][number];

export interface PinBookOptions {
  readonly store: Pick<ToolPinStore, 'version' | 'since'>;
  readonly telemetry: Pick<Telemetry, 'log' | 'pinsHeld'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly pollMs: number;
}

type OfTools<T> = Map<string, Map<string, T>>;

/** Resolves when the pins were read once; throws `STORE_UNAVAILABLE` when they cannot be. */
export async function openPinBook({ store, telemetry, clock, pollMs }: PinBookOptions): Promise<PinBook> {
  const pins: OfTools<KnownPin> = new Map();
  const changedAtMs: OfTools<number> = new Map();
  const listeners = new Set<OnDecided>();
  let version = -1;

  async function ask(): Promise<void> {
    if ((await store.version()) === version) return;
    const news = await store.since(version);
    const forgotten = news.forgotten.filter(({ serverId, toolName }) => pins.get(serverId)?.delete(toolName));
    const decided = news.pins.filter((pin) => isDecided(pins.get(pin.serverId)?.get(pin.toolName), pin));
    for (const pin of news.pins) remember(pins, pin, pin);
    for (const pin of [...news.pins, ...news.forgotten]) remember(changedAtMs, pin, clock.monotonic());
    version = news.version;
    telemetry.pinsHeld(heldByServer(pins));
    for (const serverId of new Set([...forgotten, ...decided].map((each) => each.serverId))) {
      for (const listener of [...listeners]) listener(serverId);
    }
  }

  const poller = new Poller({ subject: 'pins of tools', ask, pollMs, clock, log: telemetry.log });
  await poller.ask();
  poller.start();
  return {
    of: (serverId, toolName) => pins.get(serverId)?.get(toolName),
    changedAtMs: (serverId, toolName) => changedAtMs.get(serverId)?.get(toolName) ?? Number.NEGATIVE_INFINITY,
    countOf: (serverId) => pins.get(serverId)?.size ?? 0,
    *all() {
      for (const ofServer of pins.values()) yield* ofServer.values();
    },
    onDecided(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    refresh: () => poller.refresh(),
    close: () => poller.close(),
  };
}

function remember<T>(all: OfTools<T>, { serverId, toolName }: NamedTool, value: T): void {
  const ofServer = all.get(serverId) ?? new Map<string, T>();
  all.set(serverId, ofServer.set(toolName, value));
}

/** What is pinned for the first time was decided by nobody, and that a definition waits is no decision yet. */
function isDecided(before: KnownPin | undefined, now: KnownPin): boolean {
  if (before === undefined) return false;
  const isRejected = now.held?.state === 'rejected' && before.held?.state !== 'rejected';
  return isRejected || now.definitionHash !== before.definitionHash;
}

function heldByServer(pins: OfTools<KnownPin>): ReadonlyMap<string, number> {
  const counts = [...pins].map(([serverId, ofServer]): [string, number] => [
    serverId,
    [...ofServer.values()].filter(({ held }) => held?.state === 'held').length,
  ]);
  return new Map(counts);
}
