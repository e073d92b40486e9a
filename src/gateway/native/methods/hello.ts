/** What the endpoint says of itself: what the caller may use of what the server has, and what works for clients of that era. */
import { type Denial, deny } from '../../../core/denial.ts';
import { TalosError } from '../../../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../../core/json.ts';
import { onlyTools, type ServerHello } from '../../../mcp/protocol/hello.ts';
import type { InboundEra } from '../../../mcp/protocol/inbound.ts';
import { decideReach, type PolicyMode } from '../../../policy/decide.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from '../../caller.ts';
import type { ListTools } from '../../list-tools.ts';
import type { Refuse } from '../../refusal.ts';
import { mayUse } from '../../rpc-authority.ts';
import { foundServer, type ServerFor } from '../../server-for.ts';
import { type HelloPart, helloOfAll } from '../aggregate/hello-of-all.ts';
import type { Patience } from '../aggregate/patience.ts';

export interface HelloOptions {
  readonly serverFor: ServerFor;
  readonly patience: Patience;
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

export function createHello(options: HelloOptions): Hello {
  const { serverFor, listTools, patience, policyMode, refuse, telemetry, version } = options;
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

  const usesOf = (serverId: string, caller: Caller) => (method: string) => mayUse(method, serverId, caller, policyMode);

  /** Who is down or slow holds up nobody, and counts as having what the caller may use: a session lasts longer than that. */
  async function partOf(serverId: string, caller: Caller, era: InboundEra): Promise<HelloPart | undefined> {
    const server = serverFor(serverId, caller);
    if (server instanceof TalosError) return undefined;
    const hello = (await patience.answerOf(server, 'hello', (signal) => server.hello(signal))) ?? unheardOf;
    const { instructions } = hello;
    const capabilities = capabilitiesFor(hello, era, usesOf(serverId, caller));
    return { serverId, capabilities, ...(instructions === undefined ? {} : { instructions }) };
  }

  return async (request, era) => {
    const { serverId, caller, signal } = request;
    await permit(request);
    if (serverId === undefined) {
      const parts = await Promise.all(listTools.servers(caller).map(({ id }) => partOf(id, caller, era)));
      return { serverInfo: gateway, ...helloOfAll(parts.filter((part) => part !== undefined)) };
    }
    const hello = await foundServer(serverFor, serverId, caller).hello(signal).catch(beforeConnecting);
    const { serverInfo = gateway, instructions } = hello;
    return {
      serverInfo,
      ...(instructions === undefined ? {} : { instructions }),
      capabilities: capabilitiesFor(hello, era, usesOf(serverId, caller)),
    };
  };
}

/** What is taken for that of a server that has not said it yet: what it does not have is an empty list. */
const unheardOf: ServerHello = {
  capabilities: { tools: {}, resources: { subscribe: true }, prompts: {}, completions: {}, logging: {} },
  era: 'stateless',
};

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
    ...(resources !== undefined && (uses('resources/read') || uses('resources/list'))
      ? { resources: flags(resources, mayWatch ? ['listChanged', 'subscribe'] : ['listChanged']) }
      : {}),
    ...(prompts !== undefined && (uses('prompts/get') || uses('prompts/list'))
      ? { prompts: flags(prompts, ['listChanged']) }
      : {}),
    ...(completions !== undefined && uses('completion/complete') ? { completions: {} } : {}),
    ...(logging !== undefined && isServedAlike && uses('logging/setLevel') ? { logging: {} } : {}),
  };
}

function flags(capability: JsonValue | undefined, names: readonly string[]): JsonObject {
  const has = isJsonObject(capability) ? capability : {};
  return Object.fromEntries(names.filter((name) => has[name] === true).map((name) => [name, true]));
}
