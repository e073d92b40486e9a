/** The corridors to tool servers, each with exactly what it needs: over REST, natively, and for chat. */
import type { Recorder } from './audit/recorder.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import type { TakeCharges } from './core/limit.ts';
import type { KnownToolOf } from './core/tool-class.ts';
import { createApprovals } from './gateway/approvals.ts';
import { type CallKeys, createCallKeys } from './gateway/call-keys.ts';
import { createCallTool } from './gateway/call-tool.ts';
import { createChat } from './gateway/chat.ts';
import { createChatAuthority } from './gateway/chat-authority.ts';
import type { ConnectServerOptions } from './gateway/connections/connect-server.ts';
import { createListTools } from './gateway/list-tools.ts';
import { Patience } from './gateway/native/aggregate/patience.ts';
import { createLegacyConnections } from './gateway/native/legacy/legacy-connections.ts';
import { createHello } from './gateway/native/methods/hello.ts';
import { createNativeMcp } from './gateway/native/native-mcp.ts';
import type { SessionDirectory } from './gateway/native/sessions/session-directory.ts';
import type { Refuse } from './gateway/refusal.ts';
import { createRelayMethod } from './gateway/relay-method.ts';
import { createCheckResult } from './gateway/result-check.ts';
import type { SecretVault } from './gateway/secret-vault.ts';
import type { ServerFor } from './gateway/server-for.ts';
import type { Registry } from './mcp/registry.ts';
import type { Identity } from './open-identity.ts';
import { openMcpClients } from './open-mcp-clients.ts';
import type { ToolRules } from './open-tool-rules.ts';
import type { UpstreamTokens } from './open-upstream-tokens.ts';
import type { CapabilityVerifier } from './policy/capability-verifier.ts';
import type { PolicyMode } from './policy/decide.ts';
import { createCallResultStore } from './storage/call-results.ts';
import { createChatSessionStore } from './storage/chat-sessions.ts';
import type { openReadPool } from './storage/db.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface McpCorridorOptions {
  readonly registry: Registry;
  readonly serverFor: ServerFor;
  readonly tokens: Pick<UpstreamTokens, 'connectServer'>;
  readonly connectionChanged: ConnectServerOptions['connectionChanged'];
  readonly knownTool: KnownToolOf;
  readonly policyMode: PolicyMode;
  readonly rules: ToolRules;
  readonly config: Pick<Config, 'approvalWaitSec' | 'approvalTtlSec'>;
  readonly take: TakeCharges;
  readonly recorder: Recorder;
  readonly refuse: Refuse;
  readonly abandonIntent: (intentId: string) => void;
  readonly verifier: CapabilityVerifier;
  readonly identity: Identity;
  /** Where all gateways find the sessions of MCP clients. */
  readonly directory: SessionDirectory;
  readonly vault: Pick<SecretVault, 'keys'>;
  readonly pool: ReturnType<typeof openReadPool>;
  /** Of the gateway. */
  readonly version: string;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

export function mcpCorridors(options: McpCorridorOptions) {
  const { verifier, identity, pool, policyMode, telemetry } = options;
  const results = createCallResultStore(pool);
  const callKeys = createCallKeys({ results, readKeys: options.vault.keys, log: telemetry.log });
  const { pins } = options.rules;
  const callTool = createCallTool({
    ...{ ...options, pins, callKeys },
    approvals: approvals(options, callKeys),
    checkResult: createCheckResult(options),
    validity: async ({ authority: shown }) => shown && (await verifier.stillValidOrFreshened(shown)),
  });
  const listTools = createListTools({ ...options, pins });
  const authority = createChatAuthority({
    present: identity.presentCapability,
    revive: (capability) => verifier.revive(capability),
    possessionFault: identity.possessionFault,
    sessions: createChatSessionStore(pool),
    policyMode,
    warn: (message) => telemetry.log.warn(message),
  });
  const relayMethod = createRelayMethod(options);
  const patience = new Patience();
  const mcpClients = openMcpClients({ ...options, relayMethod, pins });
  const connectServer = options.tokens.connectServer(options);
  const nativeMcp = createNativeMcp({
    ...{ ...options, ...mcpClients, listTools, callTool, connectServer, relayMethod, patience },
    hello: createHello({ ...options, listTools, patience }),
  });
  return {
    connectServer,
    callTool,
    listTools,
    nativeMcp,
    legacyConnections: createLegacyConnections({ ...options, nativeMcp, log: telemetry.log }),
    mcpClients,
    chat: createChat({ ...options, authority }),
  };
}

function approvals({ rules, config, vault, ...options }: McpCorridorOptions, callKeys: CallKeys) {
  return createApprovals({
    ...options,
    callKeys,
    policies: rules.policies,
    store: rules.approvalStore,
    waiters: rules.waiters,
    changeLock: rules.ownLock,
    readKeys: vault.keys,
    waitSecDefault: config.approvalWaitSec,
    ttlSec: config.approvalTtlSec,
  });
}
