/**
 * The open sessions of this process with MCP clients. Each is on record from its opening to its end: no record, no
 * session.
 */
import { randomUUID } from 'node:crypto';
import type { Recorder } from '../../../audit/recorder.ts';
import { bounds } from '../../../config/bounds.ts';
import type { EventDraft } from '../../../core/audit-event.ts';
import { describeError } from '../../../core/errors.ts';
import { surfaceHttp } from '../../../core/surface-http.ts';
import { notification } from '../../../mcp/protocol/json-rpc.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import { rightMeta } from '../../right-meta.ts';
import { CallerWatch, type LastingRights } from '../caller-watch.ts';
import { type ListChange, type ListChanges, toolsChanged } from '../list-changes.ts';
import type { ReplayBudget } from '../streams/replay-buffer.ts';
import { McpSession, type McpSessionOptions, type SessionEnd, type SessionOpening } from './session.ts';
import type { OpenedSession, SessionDirectory } from './session-directory.ts';

export interface McpSessionsOptions extends LastingRights {
  readonly recorder: Pick<Recorder, 'record'>;
  readonly telemetry: Telemetry;
  readonly clientFor: McpSessionOptions['clientFor'];
  readonly onOpened: McpSessionOptions['onOpened'];
  readonly listChanges: ListChanges;
  /** Where all gateways find them. */
  readonly directory: Pick<SessionDirectory, 'newId' | 'opened' | 'ended'>;
}

export interface OpenSession extends Omit<OpenedSession, 'id'> {
  /** How records call it. */
  readonly name: string;
  /** Unix milliseconds. */
  readonly openedAtMs: number;
}

export class McpSessions {
  readonly #options: McpSessionsOptions;
  readonly #byId = new Map<string, McpSession>();
  readonly #watch: CallerWatch<McpSession>;
  readonly #freed = new Map<McpSession, () => void>();
  readonly #budget: ReplayBudget = { chars: 0 };
  readonly #closings = new Set<Promise<void>>();
  readonly #unfollow: () => void;

  constructor(options: McpSessionsOptions) {
    const { validity, clock, mayReach } = options;
    this.#options = options;
    this.#watch = new CallerWatch({
      max: bounds.mcpSessionsMax,
      perCallerMax: bounds.mcpSessionsPerCallerMax,
      clock,
      validity,
      mayStay: (session) => mayReach(session.caller, session.serverId),
    });
    this.#unfollow = options.listChanges.on((change) => this.#listChanged(change));
  }

  /** Throws `SESSIONS_FULL`, and what says that it cannot be recorded or found by other gateways. */
  async open(opening: SessionOpening): Promise<McpSession> {
    const { recorder, directory } = this.#options;
    const free = this.#watch.reserve(opening.caller);
    const session = this.#create(opening);
    try {
      await directory.opened(listed(session));
      await recorder.record(openDraft(session));
      this.#freed.set(session, free);
      this.#byId.set(session.id, session);
      this.#watch.add(session);
      this.#options.telemetry.mcpSessions(this.#byId.size);
      return session;
    } catch (error) {
      directory.ended(session.id);
      free();
      throw error;
    }
  }

  find(id: string): McpSession | undefined {
    return this.#byId.get(id);
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** As they may be shown: without their ids. */
  list(): OpenSession[] {
    const { clock } = this.#options;
    return [...this.#byId.values()].map((session) => {
      const { id: _, ...shown } = listed(session);
      const openedAtMs = clock.now() - (clock.monotonic() - session.openedAtMs);
      return { ...shown, name: session.name, openedAtMs };
    });
  }

  readonly judgeAll = (): void => this.#watch.judgeAll();

  readonly reauthenticateAll = (): void => this.#watch.reauthenticateAll();

  /** Ends what would last for ever, and lets what is under way come to its end. */
  quiesce(): void {
    for (const session of this.#byId.values()) session.quiesce();
  }

  /** Ends all; resolves when that is on record. */
  async close(): Promise<void> {
    this.#unfollow();
    for (const session of [...this.#byId.values()]) void session.end('shutdown');
    this.#watch.close();
    await Promise.all(this.#closings);
  }

  #create(opening: SessionOpening): McpSession {
    const { clock, clientFor, onOpened, directory } = this.#options;
    return new McpSession({
      id: directory.newId(),
      name: randomUUID(),
      opening,
      budget: this.#budget,
      clock,
      clientFor,
      onOpened,
      onEnd: (session, reason) => this.#ended(session, reason),
    });
  }

  #ended(session: McpSession, reason: SessionEnd): Promise<void> {
    this.#byId.delete(session.id);
    this.#watch.remove(session);
    this.#freed.get(session)?.();
    this.#freed.delete(session);
    this.#options.directory.ended(session.id);
    this.#options.telemetry.mcpSessionEnded(reason);
    this.#options.telemetry.mcpSessions(this.#byId.size);
    const closing = this.#recordEnd(session, reason).finally(() => this.#closings.delete(closing));
    this.#closings.add(closing);
    return closing;
  }

  async #recordEnd(session: McpSession, reason: SessionEnd): Promise<void> {
    const { recorder, telemetry, clock } = this.#options;
    try {
      await recorder.record(closeDraft(session, reason, Math.round(clock.monotonic() - session.openedAtMs)));
    } catch (error) {
      telemetry.log.warn(
        { session: session.name, reason: describeError(error) },
        'the end of an MCP session could not be recorded',
      );
    }
  }

  #listChanged(change: ListChange): void {
    const { serverId, method } = change;
    for (const session of this.#byId.values()) {
      if (!concerns(session, change) || !this.#options.mayHear(session.caller, serverId, method)) continue;
      session.say(notification(method));
    }
  }
}

/** Of prompts and resources it hears from a server itself, where it has a session with that: that is whose lists it has. */
function concerns(session: McpSession, { serverId, method, saidBy }: ListChange): boolean {
  if (method === toolsChanged) return session.serverId === undefined || session.serverId === serverId;
  return session.serverId === undefined && (saidBy === undefined || session.opened(saidBy) === undefined);
}

function listed({ id, serverId, caller: { principal, authority } }: McpSession) {
  const who = principal.authMode === 'bearer' ? principal : { id: 'anonymous', teamId: '' };
  return {
    id,
    principalId: who.id,
    teamId: who.teamId,
    ...(serverId === undefined ? {} : { serverId }),
    ...(authority === undefined ? {} : { capabilityHash: authority.capability.hash }),
  };
}

function openDraft(session: McpSession): EventDraft {
  return {
    ...sessionDraft(session, 'mcp.session.open'),
    meta: {
      ...sessionMeta(session),
      event_type: 'session_open',
      mcp_protocol_version: session.opening.protocolVersion,
    },
  };
}

function closeDraft(session: McpSession, reason: SessionEnd, durationMs: number): EventDraft {
  return {
    ...sessionDraft(session, 'mcp.session.close'),
    meta: {
      ...sessionMeta(session),
      event_type: 'session_close',
      session_ended_by: reason,
      session_duration_ms: durationMs,
    },
  };
}

function sessionDraft({ opening, caller, name }: McpSession, surfaceId: 'mcp.session.open' | 'mcp.session.close') {
  return {
    surfaceId,
    requestId: opening.facts.requestId,
    outcome: 'success',
    principal: caller.principal,
    http: surfaceHttp(surfaceId, 200, opening.facts),
    resource: { type: 'session', id: name },
  } as const;
}

function sessionMeta({ name, serverId, caller }: McpSession): EventDraft['meta'] {
  return { session_id: name, server_id: serverId, ...rightMeta(caller) };
}
