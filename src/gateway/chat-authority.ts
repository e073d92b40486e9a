/**
 * Who may chat: a capability for the connector's tool `chat` binds the caller's session, and later requests of the same
 * session need none, on any gateway of the same database, until it expires or is revoked.
 */
import { bounds } from '../config/bounds.ts';
import type { VerifiedCapability } from '../core/capability.ts';
import { type Denial, deny, isDenial } from '../core/denial.ts';
import type { JsonObject } from '../core/json.ts';
import { LruMap } from '../core/lru-map.ts';
import type { Authority } from '../policy/authority.ts';
import { decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import type { ChatSessionKey, ChatSessionStore } from '../storage/chat-sessions.ts';
import type { Caller } from './caller.ts';

/** The server and the tool that answer; the server is whatever is configured under this id. */
export const connectorId = 'connector';
export const chatTool = 'chat';

export interface ChatAuthorityOptions {
  /** The caller with the authority of this token, or with the denial that it meets. */
  readonly present: (caller: Caller, token: string) => Promise<Caller>;
  /** The authority of what was verified once, or why it counts no more. */
  readonly revive: (capability: VerifiedCapability) => Promise<Authority | Denial>;
  /** Why the caller of this very request may not use a capability, if so. */
  readonly possessionFault: (caller: Caller, capability: VerifiedCapability) => Denial | undefined;
  readonly sessions: ChatSessionStore;
  readonly policyMode: PolicyMode;
  readonly warn: (message: string) => void;
}

export interface ChatCaller {
  readonly caller: Caller;
  readonly sessionId: string;
  /** A capability token that binds the session; absent when it is bound already. */
  readonly capability?: string;
  /** What is sent to the tool, `session_id` and `model` among it. */
  readonly args: JsonObject;
}

/** The caller as the session makes them, and why they may not, if so. */
export type ChatAuthority = (
  asked: ChatCaller,
) => Promise<{ readonly caller: Caller; readonly denial: Denial | undefined }>;

/** The denial of a session that nothing was bound to. */
const sessionUnbound = deny('NO_CAPABILITY', 'session_unbound');

export function createChatAuthority(options: ChatAuthorityOptions): ChatAuthority {
  const development = createDevelopmentSessions(options);
  return async (asked) => {
    if (development.admits(asked))
      return { caller: asked.caller, denial: policyDenial(asked.caller, options.policyMode) };
    const presented = await presentedBy(options, asked);
    const caller = presented.authority === undefined ? await resumed(options, asked, presented) : presented;
    const denial = judge(caller, asked.args, options.policyMode);
    if (denial === undefined && presented.authority !== undefined) await bind(options, asked, presented);
    return { caller, denial };
  };
}

async function presentedBy({ present }: ChatAuthorityOptions, { caller, capability }: ChatCaller): Promise<Caller> {
  return capability === undefined ? caller : await present(caller, capability);
}

/** The caller with what their session is bound to, when they brought nothing themselves. */
async function resumed(options: ChatAuthorityOptions, asked: ChatCaller, caller: Caller): Promise<Caller> {
  const key = keyOf(asked.caller, asked.sessionId);
  if (caller.denial !== undefined || key === undefined) return caller;
  const capability = await options.sessions.find(key);
  if (capability === undefined) return caller;
  // Possession that was proven when the session was bound proves nothing of who asks now.
  const authority = options.possessionFault(caller, capability) ?? (await options.revive(capability));
  return isDenial(authority) ? { ...caller, denial: authority } : { ...caller, authority };
}

/** The connector's tool by its name; without a capability only a role or a permission lets anybody through. */
function judge(caller: Caller, args: JsonObject, policyMode: PolicyMode): Denial | undefined {
  if (caller.denial !== undefined) return caller.denial;
  const mode = { ...policyMode, requireCapability: true };
  const byName = decideByName({ server: connectorId, method: chatTool }, caller, mode);
  if (!byName.allow) return caller.authority === undefined ? sessionUnbound : byName.denial;
  const decision = decideCall(byName, { class: 'write' }, args);
  return decision.allow ? policyDenial(caller, policyMode) : decision.denial;
}

/** What the policies of the caller's team say of chatting; nobody waits here for a human to approve it. */
function policyDenial({ principal }: Caller, { policies }: PolicyMode): Denial | undefined {
  const request = { server: connectorId, method: chatTool };
  if (policies?.demandsApproval(request, principal)) return deny('SCOPE_MISMATCH', 'approval_unavailable');
  return policies?.denialOf(request, principal);
}

async function bind(options: ChatAuthorityOptions, asked: ChatCaller, { authority, principal }: Caller): Promise<void> {
  // Whoever has no other name is known by the capability, which they must then show again.
  const key = keyOf(asked.caller, asked.sessionId) ?? keyOf({ principal }, asked.sessionId);
  if (authority !== undefined && key !== undefined) await options.sessions.bind(key, authority.capability);
}

function keyOf({ principal }: Pick<Caller, 'principal'>, sessionId: string): ChatSessionKey | undefined {
  if (principal.authMode === 'anonymous') return undefined;
  return { principalId: principal.id, teamId: principal.teamId, sessionId };
}

/** Strings that older clients take for capabilities. They are none, and count in development mode only. */
function createDevelopmentSessions({ policyMode, warn }: ChatAuthorityOptions) {
  const bound = new LruMap<true>(bounds.capabilityCacheEntriesMax);
  return {
    admits({ caller, sessionId, capability }: ChatCaller): boolean {
      const key = JSON.stringify(keyOf(caller, sessionId));
      if (!policyMode.development || policyMode.requireCapability || caller.denial !== undefined) return false;
      if (capability === undefined) return caller.authority === undefined && bound.get(key) === true;
      if (!capability.startsWith('cap_') || capability.includes('invalid')) return false;
      warn('a chat session was bound to a string that is no capability; in production it would be refused');
      bound.set(key, true);
      return true;
    },
  };
}
