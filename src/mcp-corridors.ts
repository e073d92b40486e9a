/** The corridors to tool servers, each with exactly what it needs: over REST, natively, and for chat. */
import type { Recorder } from './audit/recorder.ts';
import type { Clock } from './core/clock.ts';
import type { TakeCharges } from './core/limit.ts';
import type { KnownToolOf } from './core/tool-class.ts';
import { createCallKeys } from './gateway/call-keys.ts';
import { createCallTool } from './gateway/call-tool.ts';
import { createChat } from './gateway/chat.ts';
import { createChatAuthority } from './gateway/chat-authority.ts';
import { createListTools } from './gateway/list-tools.ts';
import { createNativeMcp } from './gateway/native-mcp.ts';
import type { Refuse } from './gateway/refusal.ts';
import { createRelayMethod } from './gateway/relay-method.ts';
import type { SecretVault } from './gateway/secret-vault.ts';
import type { Registry } from './mcp/registry.ts';
import type { Identity } from './open-identity.ts';
import type { CapabilityVerifier } from './policy/capability-verifier.ts';
import type { PolicyMode } from './policy/decide.ts';
import { createCallResultStore } from './storage/call-results.ts';
import { createChatSessionStore } from './storage/chat-sessions.ts';
import type { openReadPool } from './storage/db.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface McpCorridorOptions {
  readonly registry: Registry;
  readonly knownTool: KnownToolOf;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly recorder: Recorder;
  readonly refuse: Refuse;
  readonly abandonIntent: (intentId: string) => void;
  readonly verifier: CapabilityVerifier;
  readonly identity: Identity;
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
  const callTool = createCallTool({ ...options, callKeys });
  const listTools = createListTools(options);
  const authority = createChatAuthority({
    present: identity.presentCapability,
    revive: (capability) => verifier.revive(capability),
    possessionFault: identity.possessionFault,
    sessions: createChatSessionStore(pool),
    policyMode,
    warn: (message) => telemetry.log.warn(message),
  });
  return {
    callTool,
    listTools,
    nativeMcp: createNativeMcp({ ...options, listTools, callTool, relayMethod: createRelayMethod(options) }),
    chat: createChat({ ...options, authority }),
  };
}
