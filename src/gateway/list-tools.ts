/** What a caller may see of the tool servers: lists hold only what they may call or see. Refusals of known callers are recorded. */
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { Registry, ServerSummary } from '../mcp/registry.ts';
import { type Decision, decideReach, decideSee, type PolicyMode } from '../policy/decide.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import type { ToolsAt } from './passage.ts';
import type { Refuse } from './refusal.ts';
import { foundServer, type ServerFor } from './server-for.ts';
import type { ShownTool, ToolPins } from './tool-pins.ts';

export interface ServerRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly signal: AbortSignal;
}

/** Each throws the denial, `SERVER_NOT_FOUND`, `TOOL_NOT_FOUND`, or what the server's failure is. */
export interface ListTools {
  readonly servers: (caller: Caller) => ServerSummary[];
  /** The same for who asks for this list itself, and has to learn why a capability that was presented shows none. */
  readonly askedServers: (caller: Caller, facts: RequestFacts) => Promise<ServerSummary[]>;
  /** The definitions, as the server gave them; of what it changed since, the approved ones. */
  readonly tools: (request: ServerRequest & { readonly toolsAt?: ToolsAt | undefined }) => Promise<JsonObject[]>;
  readonly tool: (request: ServerRequest & { readonly toolName: string }) => Promise<ShownTool>;
}

export interface ListToolsOptions {
  readonly registry: Pick<Registry, 'servers'>;
  readonly serverFor: ServerFor;
  readonly policyMode: PolicyMode;
  readonly pins: Pick<ToolPins, 'shown' | 'upToDate'>;
  readonly refuse: Refuse;
  readonly telemetry: Telemetry;
}

export function createListTools(options: ListToolsOptions): ListTools {
  const { registry, serverFor, policyMode, pins, refuse, telemetry } = options;

  const mayReach = (caller: Caller, serverId: string) => decideReach(serverId, caller, policyMode);
  const maySee = (caller: Caller, serverId: string, toolName: string) =>
    decideSee({ server: serverId, method: toolName }, caller, policyMode);

  async function permit(surfaceId: SurfaceId, request: ServerRequest, decision: Decision): Promise<void> {
    const denial = denialOf(request.caller, decision);
    telemetry.decided(denial);
    if (denial !== undefined) await refuse(surfaceId, denial, request.caller, request.facts);
  }

  const servers = (caller: Caller) =>
    registry.servers().filter(({ id }) => denialOf(caller, mayReach(caller, id)) === undefined);

  return {
    servers,
    async askedServers(caller, facts) {
      const { denial } = caller;
      telemetry.decided(denial);
      if (denial !== undefined) await refuse('mcp.servers.list', denial, caller, facts);
      return servers(caller);
    },
    async tools(request) {
      const { caller, serverId, signal } = request;
      await permit('mcp.tools.list', request, mayReach(caller, serverId));
      const server = foundServer(serverFor, serverId, caller);
      const source = request.toolsAt?.(server) ?? server;
      const read = () => source.catalogTools(signal);
      const tools = await pins.shown(server, await pins.upToDate(server, source, read));
      return tools.map(({ definition }) => definition).filter(({ name }) => maySee(caller, serverId, name).allow);
    },
    async tool(request) {
      const { caller, serverId, toolName, signal } = request;
      await permit('mcp.tools.schema', request, maySee(caller, serverId, toolName));
      const server = foundServer(serverFor, serverId, caller);
      const read = async () => [await server.tool(toolName, signal)].filter((tool) => tool !== undefined);
      const [shown] = await pins.shown(server, await pins.upToDate(server, server, read));
      if (shown === undefined) throw new TalosError('TOOL_NOT_FOUND');
      return shown;
    },
  };
}

function denialOf(caller: Caller, decision: Decision): Denial | undefined {
  return caller.denial ?? (decision.allow ? undefined : decision.denial);
}
