/** Tells a server what the client of a session with all servers has set, each by a request of its own on record. */
import { TalosError } from '../../../core/errors.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { RelayMethod } from '../../relay-method.ts';
import { mayUse } from '../../rpc-authority.ts';
import type { SessionPart } from '../sessions/session.ts';
import { patiently } from './patience.ts';

export interface TellSettings {
  /** Everything that is set. Resolves when the server knows, or does not say so in time. */
  readonly all: (part: SessionPart) => Promise<void>;
  /** The level alone, where the server has a log that the client may hear. */
  readonly level: (part: SessionPart) => Promise<void>;
}

export interface TellSettingsOptions {
  readonly relayMethod: RelayMethod;
  readonly policyMode: PolicyMode;
}

export function createTellSettings({ relayMethod, policyMode }: TellSettingsOptions): TellSettings {
  /** What a server does not take is its own affair: it was asked, and that is on record. */
  async function tell({ session, server, upstream }: SessionPart, method: string, params: JsonObject): Promise<void> {
    const { caller, opening, name: sessionName } = session;
    const { signal } = new AbortController();
    const passage = { lineTo: async () => upstream };
    const request = { caller, facts: opening.facts, serverId: server.id, method, params, passage, signal, sessionName };
    try {
      await relayMethod({ ...request, by: 'mcp.native.all' });
    } catch (error) {
      if (!(error instanceof TalosError)) throw error;
    }
  }

  async function tellLevel(part: SessionPart): Promise<void> {
    const { session, server, upstream } = part;
    const { level } = session.settings;
    const isHeard = mayUse('logging/setLevel', server.id, session.caller, policyMode);
    if (level === undefined || !isHeard || upstream.hello.capabilities['logging'] === undefined) return;
    await tell(part, 'logging/setLevel', { level });
  }

  /** One after the other: all at once would be more than the server takes, and in the way of everybody else. */
  async function tellWatched(part: SessionPart): Promise<void> {
    const { session, server, upstream } = part;
    for (const uri of session.settings.watchedAt(server.id)) {
      if (session.hasEnded || session.opened(server) !== upstream) return;
      if (session.settings.watches(server.id, uri)) await tell(part, 'resources/subscribe', { uri });
    }
  }

  return {
    async all(part) {
      await patiently(Promise.all([tellLevel(part), tellWatched(part)]));
    },
    async level(part) {
      await patiently(tellLevel(part));
    },
  };
}
