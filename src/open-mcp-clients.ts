/** MCP clients beside their requests: sessions, what they listen to, and what servers ask of them. */
import type { Recorder } from './audit/recorder.ts';
import type { Clock } from './core/clock.ts';
import type { TakeCharges } from './core/limit.ts';
import type { Caller } from './gateway/caller.ts';
import { createTellSettings } from './gateway/native/aggregate/tell-settings.ts';
import { ListChanges, toolsChanged } from './gateway/native/list-changes.ts';
import { ParkedCalls } from './gateway/native/parked/parked-calls.ts';
import { createAskClient } from './gateway/native/peers/ask-client.ts';
import { createPeers, mayHear } from './gateway/native/peers/peers.ts';
import type { SessionDirectory } from './gateway/native/sessions/session-directory.ts';
import { McpSessions } from './gateway/native/sessions/sessions.ts';
import { Subscriptions } from './gateway/native/subscriptions/subscriptions.ts';
import type { Refuse } from './gateway/refusal.ts';
import type { RelayMethod } from './gateway/relay-method.ts';
import type { ServerFor } from './gateway/server-for.ts';
import type { ToolPins } from './gateway/tool-pins.ts';
import type { Registry } from './mcp/registry.ts';
import type { CapabilityVerifier } from './policy/capability-verifier.ts';
import { decideReach, type PolicyMode } from './policy/decide.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface McpClientsOptions {
  readonly registry: Registry;
  readonly serverFor: ServerFor;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly recorder: Recorder;
  readonly refuse: Refuse;
  readonly relayMethod: RelayMethod;
  readonly pins: Pick<ToolPins, 'onDecided'>;
  readonly verifier: CapabilityVerifier;
  readonly directory: SessionDirectory;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

export function openMcpClients(options: McpClientsOptions) {
  const { registry, policyMode, verifier } = options;
  const listChanges = new ListChanges(registry);
  const tellSettings = createTellSettings(options);
  const askClient = createAskClient(options);
  const peers = createPeers({ policyMode, askClient });
  const validity = ({ authority }: Caller) => (authority === undefined ? undefined : verifier.stillValid(authority));
  const mayReach = (caller: Caller, serverId: string | undefined): boolean => {
    const ids = serverId === undefined ? registry.servers().map(({ id }) => id) : [serverId];
    return caller.denial === undefined && ids.some((id) => decideReach(id, caller, policyMode).allow);
  };
  const hearsOf = (caller: Caller, serverId: string, method: string): boolean =>
    method === toolsChanged ? mayReach(caller, serverId) : mayHear(method, serverId, caller, policyMode);
  const shared = { ...options, validity, mayReach, mayHear: hearsOf, listChanges };
  const sessions = new McpSessions({ ...shared, clientFor: peers.ofSession, onOpened: tellSettings.all });
  const subscriptions = new Subscriptions(shared);
  const parkedCalls = new ParkedCalls({ ...shared, askClient, peers });
  const watched = [sessions, subscriptions, parkedCalls];
  const unpin = options.pins.onDecided((serverId) => listChanges.tellTools(serverId));
  const unwatch = verifier.onRevoked(() => {
    for (const each of watched) each.judgeAll();
  });
  return {
    sessions,
    subscriptions,
    peers,
    parkedCalls,
    tellSettings,
    /** Keys or roles have changed. */
    reauthenticateAll: () => {
      for (const each of watched) each.reauthenticateAll();
    },
    /** Ends what would last for ever, and lets what is under way come to its end. */
    quiesce: () => {
      subscriptions.close();
      sessions.quiesce();
      parkedCalls.quiesce();
    },
    close: async () => {
      unwatch();
      unpin();
      listChanges.close();
      await Promise.all([sessions.close(), parkedCalls.close()]);
    },
  };
}
