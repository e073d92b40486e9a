/**
 * The pins of tools as this process knows them. Whether they changed is asked all the time, in one row, and only what did
 * is read. When nobody can say, what is known stays: an older pin never lets through what a newer one would not have let
 * through then.
 */
import type { Clock } from '../core/clock.ts';
import { Poller } from '../shared-state/poller.ts';
import type { KnownPin, ToolPinStore } from '../storage/tool-pins.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';

export interface PinBook {
  readonly of: (serverId: string, toolName: string) => KnownPin | undefined;
  /** How many pins a server has. */
  readonly countOf: (serverId: string) => number;
  /** All of them, in no order. */
  readonly all: () => Iterable<KnownPin>;
  /** Asks at once, so that a change that was just made is seen. Throws `STORE_UNAVAILABLE`. */
  readonly refresh: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface PinBookOptions {
  readonly store: Pick<ToolPinStore, 'version' | 'since'>;
  readonly telemetry: Pick<Telemetry, 'log' | 'pinsHeld'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly pollMs: number;
}

type Pins = Map<string, Map<string, KnownPin>>;

/** Resolves when the pins were read once; throws `STORE_UNAVAILABLE` when they cannot be. */
export async function openPinBook({ store, telemetry, clock, pollMs }: PinBookOptions): Promise<PinBook> {
  const pins: Pins = new Map();
  let version = -1;

  async function ask(): Promise<void> {
    if ((await store.version()) === version) return;
    const news = await store.since(version);
    for (const { serverId, toolName } of news.forgotten) pins.get(serverId)?.delete(toolName);
    for (const pin of news.pins) remember(pins, pin);
    version = news.version;
    telemetry.pinsHeld(heldByServer(pins));
  }

  const poller = new Poller({ subject: 'pins of tools', ask, pollMs, clock, log: telemetry.log });
  await poller.ask();
  poller.start();
  return {
    of: (serverId, toolName) => pins.get(serverId)?.get(toolName),
    countOf: (serverId) => pins.get(serverId)?.size ?? 0,
    *all() {
      for (const ofServer of pins.values()) yield* ofServer.values();
    },
    refresh: () => poller.refresh(),
    close: () => poller.close(),
  };
}

function remember(pins: Pins, pin: KnownPin): void {
  const ofServer = pins.get(pin.serverId) ?? new Map<string, KnownPin>();
  pins.set(pin.serverId, ofServer.set(pin.toolName, pin));
}

function heldByServer(pins: Pins): ReadonlyMap<string, number> {
  const counts = [...pins].map(([serverId, ofServer]): [string, number] => [
    serverId,
    [...ofServer.values()].filter(({ held }) => held?.state === 'held').length,
  ]);
  return new Map(counts);
}
