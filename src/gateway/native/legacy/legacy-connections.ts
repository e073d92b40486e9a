/**
 * The transport before Streamable HTTP (MCP 2024-11-05, "HTTP with SSE"): one stream that says everything, opened before the
 * client has said a word, and messages that are posted beside it. A connection has at most one session, which the message
 * `initialize` opens in it; either ends with the other.
 */
import { bounds } from '../../../config/bounds.ts';
import { describeError, TalosError } from '../../../core/errors.ts';
import { readInbound } from '../../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../../mcp/protocol/json-rpc.ts';
import { decideReach, type PolicyMode } from '../../../policy/decide.ts';
import type { Log } from '../../../telemetry/telemetry.ts';
import { accountKey, type Caller, isSameCaller } from '../../caller.ts';
import type { Refuse } from '../../refusal.ts';
import { type NativeAnswer, refusal } from '../answer.ts';
import type { NativeMcp } from '../native-mcp.ts';
import { refuseSession } from '../sessions/refuse-session.ts';
import type { SessionDirectory } from '../sessions/session-directory.ts';
import type { EventSink } from '../streams/event-sink.ts';
import { LegacyConnection, type LegacyMessage, type LegacyOpening } from './legacy-connection.ts';

export interface LegacyPosted {
  /** What the post is answered with. */
  readonly answer: NativeAnswer;
  /** Resolves when what was asked is answered on the stream; never rejects. */
  readonly done: Promise<void>;
}

export interface LegacyConnections {
  /**
   * The id of a new connection, which is to be opened with `serve`. Throws the denial, `SESSIONS_FULL` and
   * `STORE_UNAVAILABLE`.
   */
  readonly open: (opening: LegacyOpening) => Promise<string>;
  /** Everything that is said to the client of the connection goes there. */
  readonly serve: (id: string, stream: EventSink) => void;
  /** Throws `SESSION_NOT_FOUND`, whether there is none or it is somebody else's; the latter is on record. */
  readonly post: (message: LegacyMessage) => Promise<LegacyPosted>;
  /** Ends all when what is under way has its answers. */
  readonly quiesce: () => void;
}

export interface LegacyConnectionsOptions {
  readonly nativeMcp: NativeMcp;
  readonly directory: Pick<SessionDirectory, 'newId' | 'opened' | 'ended'>;
  readonly refuse: Refuse;
  readonly policyMode: PolicyMode;
  readonly log: Log;
}

export function createLegacyConnections(options: LegacyConnectionsOptions): LegacyConnections {
  const { nativeMcp, directory, refuse, policyMode, log } = options;
  const byId = new Map<string, LegacyConnection>();

  async function permit({ caller, facts, serverId }: LegacyOpening): Promise<void> {
    const decision = decideReach(serverId, caller, policyMode);
    const denial = caller.denial ?? (decision.allow ? undefined : decision.denial);
    if (denial !== undefined) await refuse('mcp.native.sse', denial, caller, facts);
  }

  function assertRoom(caller: Caller): void {
    const owner = accountKey(caller);
    const own = [...byId.values()].filter((each) => each.owner === owner).length;
    if (byId.size < bounds.mcpSessionsMax && own < bounds.mcpSessionsPerCallerMax) return;
    throw new TalosError('SESSIONS_FULL', { retryAfterSec: bounds.mcpSessionRetrySec });
  }

  async function connectionOf({ sessionId, serverId, caller, facts }: LegacyMessage): Promise<LegacyConnection> {
    const connection = byId.get(sessionId);
    if (connection === undefined) throw new TalosError('SESSION_NOT_FOUND');
    const { opening } = connection;
    if (serverId === opening.serverId && isSameCaller(caller, opening.caller)) return connection;
    return await refuseSession(refuse, 'mcp.native.messages', { caller, facts });
  }

  return {
    async open(opening) {
      await permit(opening);
      assertRoom(opening.caller);
      const id = directory.newId();
      const onClosed = () => {
        byId.delete(id);
        directory.ended(id);
      };
      const onFailure = (error: unknown) => log.error({ reason: describeError(error) }, 'an MCP message failed');
      // Before anything is waited for: it counts from now on.
      byId.set(id, new LegacyConnection({ opening, nativeMcp, onClosed, onFailure }));
      try {
        await directory.opened({ id, ...whose(opening) });
        return id;
      } catch (error) {
        onClosed();
        throw error;
      }
    },
    serve: (id, stream) => byId.get(id)?.serve(stream),
    quiesce() {
      for (const connection of byId.values()) connection.endSoon();
    },
    async post(message) {
      const connection = await connectionOf(message);
      const inbound = readInbound(message.body, message.headers);
      if (inbound.kind === 'refused') return answered(refusal(400, inbound.id, { ...inbound.error }));
      if (inbound.kind !== 'request') return answered(await connection.take(message));
      if (inbound.era === 'stateless') return answered(refusal(400, inbound.id, ofNoSession));
      if (!connection.isReadyFor(inbound.method)) return answered(refusal(400, inbound.id, notInitialized));
      return { answer: { status: 202 }, done: connection.request(message, inbound.id) };
    },
  };
}

const ofNoSession = {
  code: rpcCodes.invalidRequest,
  message: 'This transport serves protocol revisions with sessions only.',
};
const notInitialized = { code: rpcCodes.invalidRequest, message: 'The first message is initialize, and there is one.' };

function answered(answer: NativeAnswer): LegacyPosted {
  return { answer, done: Promise.resolve() };
}

function whose({ caller: { principal, authority }, serverId }: LegacyOpening) {
  const who = principal.authMode === 'bearer' ? principal : { id: 'anonymous', teamId: '' };
  const capability = authority === undefined ? {} : { capabilityHash: authority.capability.hash };
  return { principalId: who.id, teamId: who.teamId, serverId, ...capability };
}
