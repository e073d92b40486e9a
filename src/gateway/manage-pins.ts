/** Pins of tools as operators see and decide them: what was approved, what waits, and how the two differ. */
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import { recordName } from '../core/record-name.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { PinChange, PinState, ToolPin } from '../core/tool-pin.ts';
import type { ToolPinStore } from '../storage/tool-pins.ts';
import { type Administer, type Administered, type AdminRequest, conflict } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import { definitionDiff, readable } from './pin-diff.ts';
import type { ToolPins } from './tool-pins.ts';

export interface PinFilter {
  readonly serverId?: string;
  readonly toolName?: string;
  readonly state?: PinState;
}

/** A pin with what it is of. */
export interface PinView {
  readonly pin: ToolPin;
  /** The approved definition as a human reads it; undefined when its text is not there or is not the one that was approved. */
  readonly definition?: string;
  /** A unified diff to the definition that waits or was rejected. */
  readonly diff?: string;
}

/** One tool, and the definition that its server gave since. */
export interface PinDecision {
  readonly serverId: string;
  readonly toolName: string;
  /** What was looked at: another definition that came meanwhile is not decided by this. */
  readonly definitionHash: string;
}

export interface ManagePins {
  /** Ordered by server and tool. */
  readonly list: (request: AdminRequest, filter: PinFilter) => Promise<readonly ToolPin[]>;
  /** Throws `NOT_FOUND`, as do those below. */
  readonly get: (request: AdminRequest, serverId: string, toolName: string) => Promise<PinView>;
  /** Throws `CONFLICT` when another definition, or none, waits. */
  readonly approve: (request: AdminRequest, decision: PinDecision) => Promise<Administered<ToolPin>>;
  readonly reject: (request: AdminRequest, decision: PinDecision) => Promise<Administered<ToolPin>>;
  /** Of one tool, or of all tools of the server; what is seen next is pinned then. Resolves with how many. */
  readonly forget: (request: AdminRequest, serverId: string, toolName?: string) => Promise<Administered<number>>;
}

export interface ManagePinsOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly pins: ToolPins;
  readonly store: Pick<ToolPinStore, 'definitions'>;
}

export function createManagePins(options: ManagePinsOptions): ManagePins {
  const { authorizeAction, administer, pins, store } = options;

  async function decide(
    kind: 'approve' | 'reject',
    surfaceId: SurfaceId,
    request: AdminRequest,
    decision: PinDecision,
  ): Promise<Administered<ToolPin>> {
    const { serverId, toolName, definitionHash } = decision;
    const { auditRef } = await administer(request, {
      surfaceId,
      resource: resourceOf(serverId, toolName),
      async prepare() {
        await pins.refresh();
        const pin = found(pins, serverId, toolName);
        assertHeld(pin, definitionHash);
        const meta = {
          ...named(serverId, toolName),
          definition_hash: definitionHash,
          pinned_hash: pin.definitionHash,
        };
        return { companions: { pins: { kind, ...decision } }, meta, answer: undefined };
      },
    });
    await seen(pins);
    return { auditRef, answer: found(pins, serverId, toolName) };
  }

  return {
    async list({ caller, facts }, filter) {
      await authorizeAction('admin.mcp.pins.list', caller, facts);
      return [...pins.all()].filter((pin) => matches(pin, filter)).sort(byName);
    },
    async get({ caller, facts }, serverId, toolName) {
      await authorizeAction('admin.mcp.pins.get', caller, facts);
      return await viewOf(store, found(pins, serverId, toolName));
    },
    approve: (request, decision) => decide('approve', 'admin.mcp.pins.approve', request, decision),
    reject: (request, decision) => decide('reject', 'admin.mcp.pins.reject', request, decision),
    async forget(request, serverId, toolName) {
      const forgotten = await administer(request, {
        surfaceId: toolName === undefined ? 'admin.mcp.pins.forget.all' : 'admin.mcp.pins.forget',
        resource: resourceOf(serverId, toolName),
        async prepare() {
          await pins.refresh();
          const those = [...pins.all()].filter((pin) =>
            matches(pin, { serverId, ...(toolName === undefined ? {} : { toolName }) }),
          );
          const [first] = those;
          if (first === undefined) throw notPinned();
          const change: PinChange = { kind: 'forget', serverId, ...(toolName === undefined ? {} : { toolName }) };
          const meta =
            toolName === undefined
              ? { server_id: serverId }
              : { ...named(serverId, toolName), pinned_hash: first.definitionHash };
          return { companions: { pins: change }, meta, answer: those.length };
        },
      });
      await seen(pins);
      return forgotten;
    },
  };
}

/** Of a pin. */
export function stateOf({ held }: ToolPin): PinState {
  return held?.state ?? 'pinned';
}

function matches(pin: ToolPin, { serverId, toolName, state }: PinFilter): boolean {
  return (
    (serverId ?? pin.serverId) === pin.serverId &&
    (toolName ?? pin.toolName) === pin.toolName &&
    (state ?? stateOf(pin)) === stateOf(pin)
  );
}

function byName(a: ToolPin, b: ToolPin): number {
  if (a.serverId !== b.serverId) return a.serverId < b.serverId ? -1 : 1;
  return a.toolName < b.toolName ? -1 : 1;
}

/** The change is made; a gateway that cannot read it now reads it with its next poll. */
async function seen(pins: ToolPins): Promise<void> {
  await pins.refresh().catch(() => undefined);
}

function found(pins: ToolPins, serverId: string, toolName: string): ToolPin {
  const pin = pins.of(serverId, toolName);
  if (pin === undefined) throw notPinned();
  return pin;
}

function notPinned(): TalosError {
  return new TalosError('NOT_FOUND', { message: 'There is no such pin.' });
}

function assertHeld({ held, definitionHash: approved }: ToolPin, definitionHash: string): void {
  if (held?.definitionHash === definitionHash) return;
  if (approved === definitionHash) throw conflict('This definition is the approved one already.');
  if (held === undefined) throw conflict('No other definition of this tool waits.');
  throw conflict(`Another definition waits by now: ${held.definitionHash}. Look at it first.`);
}

async function viewOf({ definitions }: ManagePinsOptions['store'], pin: ToolPin): Promise<PinView> {
  const { definitionHash, held } = pin;
  const texts = await definitions(held === undefined ? [definitionHash] : [definitionHash, held.definitionHash]);
  const approved = texts.get(definitionHash);
  const other = held === undefined ? undefined : texts.get(held.definitionHash);
  return {
    pin,
    ...(approved === undefined ? {} : { definition: readable(approved) }),
    ...(approved === undefined || other === undefined ? {} : { diff: definitionDiff(approved, other) }),
  };
}

function resourceOf(serverId: string, toolName?: string) {
  return toolName === undefined
    ? { type: 'server', id: recordName(serverId, bounds.recordNameCharsMax) || '-' }
    : { type: 'tool', id: recordName(`${serverId}/${toolName}`, bounds.recordNameCharsMax) };
}

function named(serverId: string, toolName: string) {
  return { server_id: serverId, tool_name: recordName(toolName, bounds.recordNameCharsMax) };
}
