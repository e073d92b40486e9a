/**
 * Pins of tools: what a server first said of a tool is what may be used, until an operator approves something else. They
 * are known in memory; whoever meets a definition that is not pinned, or another one than is, waits until that is on record.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, deny } from '../core/denial.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { PinState, ToolPin } from '../core/tool-pin.ts';
import type { CatalogTool } from '../mcp/registry.ts';
import { schemaHash } from '../mcp/tools/tool-definition.ts';
import type { ToolSource } from '../mcp/upstream-session.ts';
import { openPinBook, type PinBook } from '../policy/pin-book.ts';
import type { ChangeLock } from '../storage/change-lock.ts';
import type { KnownPin, ToolPinStore } from '../storage/tool-pins.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { createPinWriter } from './pin-writer.ts';

/** A tool as it may be shown: as its server defines it, or as it was approved. */
export type ShownTool = Pick<CatalogTool, 'definition' | 'schemaHash' | 'definitionHash'>;

/** A tool server, as far as its pins matter. */
export interface PinnedServer {
  readonly id: string;
  readonly spec: Pick<McpServerSpec, 'pins'>;
}

/** How a definition stands to the pin of its tool; `unpinned` when there is none. */
export type Standing = PinState | 'unpinned';

export interface ToolPins {
  /**
   * The tools that `read` gives from `source`, as the server has them now: where one is another definition than its pin and
   * was listed before that last changed, they are read anew. Only what a server has now is held or refused.
   */
  readonly upToDate: (
    server: PinnedServer & Pick<ToolSource, 'doubt'>,
    source: Pick<ToolSource, 'doubt'>,
    read: () => Promise<readonly CatalogTool[]>,
  ) => Promise<readonly CatalogTool[]>;
  /**
   * Why the tool may not be called as its server defines it now; undefined when it may. Throws `AUDIT_UNAVAILABLE` or
   * `STORE_UNAVAILABLE` for a tool that cannot be pinned now.
   */
  readonly judge: (server: PinnedServer, tool: CatalogTool) => Promise<Denial | undefined>;
  /** What may be shown of these tools, the changed ones as they were approved. Throws as `judge` when that is nothing. */
  readonly shown: (server: PinnedServer, tools: readonly CatalogTool[]) => Promise<readonly ShownTool[]>;
  /** Pins what is new of these tools, holds what changed, and releases what changed back. Throws as `judge`. */
  readonly see: (server: PinnedServer, tools: readonly CatalogTool[]) => Promise<void>;
  readonly standingOf: (server: PinnedServer, tool: ShownTool) => Standing;
  readonly of: (serverId: string, toolName: string) => ToolPin | undefined;
  /** All of them, in no order. */
  readonly all: () => Iterable<ToolPin>;
  readonly onDecided: PinBook['onDecided'];
  /** Asks at once, so that a change that was just made is seen. Throws `STORE_UNAVAILABLE`. */
  readonly refresh: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface ToolPinsOptions {
  readonly store: ToolPinStore;
  readonly recorder: Pick<Recorder, 'recordAll'>;
  readonly changeLock: ChangeLock;
  /** Throws `STORE_FULL` when the store takes nothing more. */
  readonly assertRoom: () => void;
  readonly telemetry: Pick<Telemetry, 'log' | 'pinsHeld'>;
  readonly clock: Pick<Clock, 'monotonic'>;
}

/** Resolves when the pins were read once; throws `STORE_UNAVAILABLE` when they cannot be. */
export async function startToolPins(options: ToolPinsOptions): Promise<ToolPins> {
  const book = await openPinBook({ ...options, pollMs: bounds.toolPinsPollMs });
  const { of, changedAtMs, countOf, all, refresh, onDecided } = book;
  const approved = new WeakMap<KnownPin, readonly ShownTool[]>();

  const standingOf: ToolPins['standingOf'] = ({ id, spec }, tool) =>
    standing(of(id, tool.definition.name), tool, spec.pins === 'record');
  const isApproved = ({ id }: PinnedServer, { definition, definitionHash }: ShownTool) =>
    of(id, definition.name)?.definitionHash === definitionHash;
  const isOutdated = ({ id }: PinnedServer, { definition, listedAtMs }: CatalogTool) =>
    listedAtMs < changedAtMs(id, definition.name);
  const writer = createPinWriter({ ...options, of, changedAtMs, countOf, refresh });
  const see: ToolPins['see'] = ({ id, spec }, tools) => writer.see(id, spec.pins ?? 'enforce', tools);

  const seeLater = seeInPassing({ see }, options.telemetry.log);
  const isHeld = ({ id }: PinnedServer, { definition }: ShownTool) => of(id, definition.name)?.held !== undefined;

  return {
    async upToDate(server, source, read) {
      let tools = await read();
      // A list that was under way already may have been asked for too early.
      for (let time = 0; time < 2; time++) {
        if (!tools.some((tool) => !isApproved(server, tool) && isOutdated(server, tool))) break;
        server.doubt();
        if (source !== server) source.doubt();
        tools = await read();
      }
      return tools;
    },
    async judge(server, tool) {
      if (isApproved(server, tool)) {
        if (isHeld(server, tool)) seeLater(server, [tool]);
        return undefined;
      }
      const isPinned = of(server.id, tool.definition.name) !== undefined;
      // A change that cannot be put on record now is refused all the same.
      await see(server, [tool]).catch((error: unknown) => {
        if (!isPinned) throw error;
      });
      return pinDenial(server.id, tool.definition.name, standingOf(server, tool));
    },
    async shown(server, tools) {
      if (tools.every((tool) => isApproved(server, tool))) {
        if (tools.some((tool) => isHeld(server, tool))) seeLater(server, tools);
        return tools;
      }
      const fault = await see(server, tools).then(
        () => undefined,
        (error: unknown) => error,
      );
      const shown = tools.flatMap((tool): ShownTool[] => {
        const pin = of(server.id, tool.definition.name);
        if (pin === undefined) return [];
        if (standingOf(server, tool) === 'pinned') return [tool];
        const before = approved.get(pin) ?? approvedTool(pin);
        approved.set(pin, before);
        return [...before];
      });
      if (shown.length === 0 && fault !== undefined) throw fault;
      return shown;
    },
    see,
    standingOf,
    of,
    all,
    onDecided,
    refresh,
    async close() {
      await book.close();
      await writer.settled();
    },
  };
}

/** A definition that is neither the approved one nor held yet is as good as held, but where changes are only recorded. */
function standing(pin: ToolPin | undefined, { definitionHash }: ShownTool, isRecordedOnly: boolean): Standing {
  if (pin === undefined) return 'unpinned';
  if (pin.definitionHash === definitionHash || isRecordedOnly) return 'pinned';
  return pin.held?.definitionHash === definitionHash ? pin.held.state : 'held';
}

/** The denial of a call; it names what an operator does next. */
export function pinDenial(serverId: string, toolName: string, state: Standing): Denial | undefined {
  switch (state) {
    case 'pinned':
      return undefined;
    case 'unpinned':
      return deny('UNKNOWN_TOOL', 'definition_unpinned');
    case 'held': {
      const message = `The definition of this tool has changed and waits for an operator's approval: ${lookCommand(serverId, toolName)}`;
      return { ...deny('UNKNOWN_TOOL', 'definition_changed'), message };
    }
    case 'rejected': {
      const message = 'The server gives a definition of this tool that an operator has rejected.';
      return { ...deny('UNKNOWN_TOOL', 'definition_rejected'), message };
    }
  }
}

/** Its name is the server's: in a command that operators copy it must be no command itself. */
function lookCommand(serverId: string, toolName: string): string {
  const isPlain = /^\w[\w.-]{0,127}$/.test(toolName);
  return isPlain ? `talos pins diff ${serverId} ${toolName}` : `talos pins list --state held --server ${serverId}`;
}

/** None for a text that is not there, or is not the one that was approved. */
function approvedTool({ definitionHash, definition: text }: KnownPin): readonly ShownTool[] {
  if (text === undefined || `sha256:${sha256Hex(text)}` !== definitionHash) return [];
  const definition = JSON.parse(text) as ShownTool['definition'];
  return [{ definition, schemaHash: schemaHash(definition.inputSchema), definitionHash }];
}

/** Sees the tools of a server without anybody waiting for it. */
export function seeInPassing(pins: Pick<ToolPins, 'see'>, log: Telemetry['log']) {
  return (server: PinnedServer, tools: readonly CatalogTool[]): void => {
    pins.see(server, tools).catch((error: unknown) => {
      const reason = error instanceof TalosError ? error.code : describeError(error);
      log.warn({ server: server.id, reason }, 'the tools of a server are not pinned yet');
    });
  };
}
