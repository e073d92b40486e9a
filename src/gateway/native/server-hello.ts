/** What the endpoint says of itself: what the caller may use of what the server has, and what works for clients of that era. */
import { type Denial, deny } from '../../core/denial.ts';
import { TalosError } from '../../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { onlyTools, type ServerHello } from '../../mcp/protocol/hello.ts';
import type { InboundEra } from '../../mcp/protocol/inbound.ts';
import { decideReach, type PolicyMode } from '../../policy/decide.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from '../caller.ts';
import type { ListTools } from '../list-tools.ts';
import type { Refuse } from '../refusal.ts';
import { mayUse } from '../rpc-authority.ts';
import type { ServerFor } from '../server-for.ts';

export interface HelloOptions {
  readonly serverFor: ServerFor;
  readonly listTools: Pick<ListTools, 'servers'>;
  readonly policyMode: PolicyMode;
  readonly refuse: Refuse;
  readonly telemetry: Telemetry;
  /** Of the gateway. */
  readonly version: string;
}

export interface HelloRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  /** Absent at the endpoint of all servers. */
  readonly serverId?: string;
  readonly signal: AbortSignal;
}

/** Capabilities, `serverInfo` and instructions. Throws the denial, `SERVER_NOT_FOUND`, or what the server's failure is. */
export type Hello = (
  request: HelloRequest,
  era: InboundEra,
) => Promise<JsonObject & { readonly serverInfo: JsonObject }>;

export function createHello({ serverFor, listTools, policyMode, refuse, telemetry, version }: HelloOptions): Hello {
  const gateway = { name: 'talos-gateway', version };

  async function permit({ caller, facts, serverId }: HelloRequest): Promise<void> {
    const denial = denialOf(caller, serverId);
    if (serverId !== undefined) telemetry.decided(denial);
    if (denial === undefined) return;
    await refuse(serverId === undefined ? 'mcp.native.all' : 'mcp.native', denial, caller, facts);
  }

  function denialOf(caller: Caller, serverId: string | undefined): Denial | undefined {
    if (caller.denial !== undefined) return caller.denial;
    if (serverId === undefined) return listTools.servers(caller).length === 0 ? deny('NO_CAPABILITY') : undefined;
    const decision = decideReach(serverId, caller, policyMode);
    return decision.allow ? undefined : decision.denial;
  }

  return async (request, era) => {
    const { serverId, caller, signal } = request;
    await permit(request);
    // Servers come and go.
    if (serverId === undefined) return { serverInfo: gateway, capabilities: { tools: { listChanged: true } } };
    const server = serverFor(serverId, caller);
    if (server instanceof TalosError) throw server;
    const hello = await server.hello(signal).catch(beforeConnecting);
    const { serverInfo = gateway, instructions } = hello;
    const uses = (method: string) => mayUse(method, serverId, caller, policyMode);
    return {
      serverInfo,
      ...(instructions === undefined ? {} : { instructions }),
      capabilities: capabilitiesFor(hello, era, uses),
    };
  };
}

/** Of a server that the user has no account at yet: a client that is not let in could not tell its user to connect one. */
function beforeConnecting(error: unknown): ServerHello {
  const isToConnect = error instanceof TalosError && error.details?.['connect'] !== undefined;
  if (isToConnect) return { ...onlyTools, instructions: error.message };
  throw error;
}

/** What servers have that needs a method of its own, beside tools, which everybody sees. */
function capabilitiesFor(hello: ServerHello, era: InboundEra, uses: (method: string) => boolean): JsonObject {
  const { tools, resources, prompts, completions, logging } = hello.capabilities;
  // A client without a session is heard only by a server that needs none.
  const isServedAlike = era === 'session' || hello.era === 'stateless';
  const mayWatch = isServedAlike && uses('resources/subscribe');
  return {
    tools: flags(tools, ['listChanged']),
    ...(resources !== undefined && uses('resources/read')
      ? { resources: flags(resources, mayWatch ? ['listChanged', 'subscribe'] : ['listChanged']) }
      : {}),
    ...(prompts !== undefined && uses('prompts/get') ? { prompts: flags(prompts, ['listChanged']) } : {}),
    ...(completions !== undefined && uses('completion/complete') ? { completions: {} } : {}),
    ...(logging !== undefined && isServedAlike && uses('logging/setLevel') ? { logging: {} } : {}),
  };
}

function flags(capability: JsonValue | undefined, names: readonly string[]): JsonObject {
  const has = isJsonObject(capability) ? capability : {};
  return Object.fromEntries(names.filter((name) => has[name] === true).map((name) => [name, true]));
}
