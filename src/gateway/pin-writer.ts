/**
 * Puts what is new of tools on record, with the pins: what several requests meet at once is written once, and under the
 * lock of all changes, so that gateways that meet the same write one record of it.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { EventDraft } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import { OneAtATime } from '../core/one-at-a-time.ts';
import { ownDraft } from '../core/own-draft.ts';
import { recordName } from '../core/record-name.ts';
import type { PinMode, ToolPin } from '../core/tool-pin.ts';
import type { CatalogTool } from '../mcp/registry.ts';
import { definitionText } from '../mcp/tools/tool-definition.ts';
import type { ChangeLock } from '../storage/change-lock.ts';
import type { ToolPinStore } from '../storage/tool-pins.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';

export interface PinWriterOptions {
  readonly store: Pick<ToolPinStore, 'keepDefinitions'>;
  readonly recorder: Pick<Recorder, 'recordAll'>;
  readonly changeLock: ChangeLock;
  /** Throws `STORE_FULL` when the store takes nothing more. */
  readonly assertRoom: () => void;
  readonly of: (serverId: string, toolName: string) => ToolPin | undefined;
  /** When this process learnt of the last change of a pin, by the clock of `listedAtMs`. */
  readonly changedAtMs: (serverId: string, toolName: string) => number;
  /** How many pins a server has. */
  readonly countOf: (serverId: string) => number;
  readonly refresh: () => Promise<void>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly telemetry: Pick<Telemetry, 'log'>;
}

export interface PinWriter {
  /** Resolves when whatever is new of the tools is on record and known here. Throws when it cannot be. */
  readonly see: (serverId: string, mode: PinMode, tools: readonly CatalogTool[]) => Promise<void>;
  /** Resolves when nothing is being written. */
  readonly settled: () => Promise<void>;
}

interface Sighting {
  readonly serverId: string;
  readonly mode: PinMode;
  readonly tool: CatalogTool;
}

export function createPinWriter(options: PinWriterOptions): PinWriter {
  const { store, recorder, changeLock, of, changedAtMs, refresh, clock } = options;
  /** When this process last recorded a change of a tool, by the clock that only moves forward. */
  const heldAtMs = new Map<string, number>();
  let collecting: { readonly sightings: Sighting[]; readonly done: Promise<void> } | undefined;
  const writing = new OneAtATime();

  function isNews({ serverId, mode, tool }: Sighting): boolean {
    const pin = of(serverId, tool.definition.name);
    const newerMs = tool.listedAtMs - changedAtMs(serverId, tool.definition.name);
    // A list that is older than what was decided tells nothing of what the server has now.
    if (newerMs < 0) return false;
    if (pin === undefined) return canBePinned(options, serverId, tool.definition.name);
    if (pin.definitionHash === tool.definitionHash) return isOver(pin, newerMs);
    if (mode === 'enforce' && pin.held === undefined) return true;
    // One that changes all the time needs no record of each change.
    const lastMs = heldAtMs.get(nameOf(serverId, tool)) ?? Number.NEGATIVE_INFINITY;
    const isRecent = clock.monotonic() - lastMs < bounds.toolPinHoldIntervalMs;
    return pin.held?.definitionHash !== tool.definitionHash && !isRecent;
  }

  async function write(seen: readonly Sighting[]): Promise<void> {
    options.assertRoom();
    await changeLock(async () => {
      await refresh();
      const sightings = [...new Map(seen.map((each) => [nameOf(each.serverId, each.tool), each])).values()].filter(
        isNews,
      );
      if (sightings.length === 0) return;
      await store.keepDefinitions(
        new Map(sightings.map(({ tool }) => [tool.definitionHash, definitionText(tool.definition)])),
      );
      const changes = sightings.filter(({ serverId, tool }) => of(serverId, tool.definition.name) !== undefined);
      const drafts = draftsOf(sightings, changes, of);
      for (let from = 0; from < drafts.length; from += bounds.batchEventsMax) {
        await recorder.recordAll(drafts.slice(from, from + bounds.batchEventsMax));
      }
      for (const { serverId, tool } of changes) heldAtMs.set(nameOf(serverId, tool), clock.monotonic());
    });
    await refresh();
  }

  function collect(): { readonly sightings: Sighting[]; readonly done: Promise<void> } {
    const sightings: Sighting[] = [];
    const done = writing.run(() => {
      collecting = undefined;
      return write(sightings);
    });
    return { sightings, done };
  }

  return {
    async see(serverId, mode, tools) {
      const news = tools.map((tool) => ({ serverId, mode, tool })).filter(isNews);
      if (news.length === 0) return;
      collecting ??= collect();
      collecting.sightings.push(...news);
      await collecting.done;
    },
    settled: () => writing.settled(),
  };
}

/** What was held, and then taken back by the server for so long that it does not come and go all the time. */
function isOver({ held }: ToolPin, newerMs: number): boolean {
  return held?.state === 'held' && newerMs >= bounds.toolPinHoldIntervalMs;
}

function nameOf(serverId: string, { definition }: CatalogTool): string {
  return `${serverId}/${definition.name}`;
}

/** No column can hold NUL, and whoever makes up names without end must not fill the store with them. */
function canBePinned({ countOf, telemetry }: PinWriterOptions, serverId: string, toolName: string): boolean {
  if (toolName.includes('\0')) return false;
  if (countOf(serverId) < bounds.toolPinsPerServerMax) return true;
  telemetry.log.warn(
    { server: serverId },
    'a tool server has had more tools than are pinned: new ones are not offered',
  );
  return false;
}

function draftsOf(
  sightings: readonly Sighting[],
  changes: readonly Sighting[],
  of: PinWriterOptions['of'],
): EventDraft[] {
  const firsts = sightings.filter((each) => !changes.includes(each));
  const byServer = Map.groupBy(firsts, ({ serverId }) => serverId);
  return [
    ...[...byServer].flatMap(([serverId, group]) => inParts(group).map((part) => pinDraft(serverId, part))),
    ...changes.map((sighting) => changeDraft(sighting, of)),
  ];
}

/** So that each fits the details of one record, which nearly all do at once. */
function inParts(group: readonly Sighting[]): Sighting[][] {
  const parts: Sighting[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const sighting of group) {
    const own = Buffer.byteLength(JSON.stringify(namedDefinition(sighting)));
    if (bytes + own > bounds.toolPinDetailsBytesMax) {
      parts.push([]);
      bytes = 0;
    }
    bytes += own;
    parts.at(-1)?.push(sighting);
  }
  return parts;
}

function namedDefinition({ tool }: Sighting) {
  return { tool_name: tool.definition.name, definition_hash: tool.definitionHash };
}

function pinDraft(serverId: string, group: readonly Sighting[]): EventDraft {
  const tools = group.map(({ tool }) => ({ toolName: tool.definition.name, definitionHash: tool.definitionHash }));
  return {
    ...ownDraft('mcp.pins.pin'),
    resource: { type: 'server', id: serverId },
    meta: { event_type: 'tools_pinned', phase: 'note', server_id: serverId, pinned_count: tools.length },
    details: { tools: group.map(namedDefinition) },
    companions: { pins: { kind: 'pin', serverId, tools } },
  };
}

const kindsOfChange = {
  approve: { surfaceId: 'mcp.pins.take', eventType: 'tool_change_taken' },
  hold: { surfaceId: 'mcp.pins.hold', eventType: 'tool_held' },
  release: { surfaceId: 'mcp.pins.release', eventType: 'tool_released' },
} as const;

/** Where pins are only recorded, the new definition takes the place of the old one. */
function changeDraft({ serverId, mode, tool }: Sighting, of: PinWriterOptions['of']): EventDraft {
  const { definition } = tool;
  const pin = of(serverId, definition.name);
  const isBack = pin?.definitionHash === tool.definitionHash;
  const kind = isBack ? 'release' : mode === 'record' ? 'approve' : 'hold';
  const definitionHash = (isBack ? pin.held?.definitionHash : undefined) ?? tool.definitionHash;
  const { surfaceId, eventType } = kindsOfChange[kind];
  return {
    ...ownDraft(surfaceId),
    resource: { type: 'tool', id: recordName(`${serverId}/${definition.name}`, bounds.recordNameCharsMax) },
    meta: {
      event_type: eventType,
      phase: 'note',
      server_id: serverId,
      tool_name: recordName(definition.name, bounds.recordNameCharsMax),
      definition_hash: definitionHash,
      pinned_hash: pin?.definitionHash,
    },
    companions: { pins: { kind, serverId, toolName: definition.name, definitionHash } },
  };
}
