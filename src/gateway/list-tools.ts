/** What a caller may see of the tool servers: lists hold only what they may call or see. Refusals of known callers are recorded. */
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { McpServer, Registry, ServerSummary } from '../mcp/registry.ts';
import { type Decision, decideReach, decideSee, type PolicyMode } from '../policy/decide.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import type { Refuse } from './refusal.ts';
import type { ServerFor } from './server-for.ts';
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
  /** The definitions, as the server gave them; of what it changed since, the approved ones. */
  readonly tools: (request: ServerRequest) => Promise<JsonObject[]>;
  readonly tool: (request: ServerRequest & { readonly toolName: string }) => Promise<ShownTool>;
}

export interface ListToolsOptions {
  readonly registry: Pick<Registry, 'servers'>;
  readonly serverFor: ServerFor;
  readonly policyMode: PolicyMode;
  readonly pins: Pick<ToolPins, 'shown'>;
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

  function find({ caller, serverId }: ServerRequest): McpServer {
    const server = serverFor(serverId, caller);
    if (server instanceof TalosError) throw server;
    return server;
  }

  return {
    servers: (caller) => registry.servers().filter(({ id }) => denialOf(caller, mayReach(caller, id)) === undefined),
    async tools(request) {
      const { caller, serverId, signal } = request;
      await permit('mcp.tools.list', request, mayReach(caller, serverId));
      const server = find(request);
      const tools = await pins.shown(server, await server.catalogTools(signal));
      return tools.map(({ definition }) => definition).filter(({ name }) => maySee(caller, serverId, name).allow);
    },
    async tool(request) {
      const { caller, serverId, toolName, signal } = request;
      await permit('mcp.tools.schema', request, maySee(caller, serverId, toolName));
      const server = find(request);
      const tool = await server.tool(toolName, signal);
      const [shown] = tool === undefined ? [] : await pins.shown(server, [tool]);
      if (shown === undefined) throw new TalosError('TOOL_NOT_FOUND');
      return shown;
    },
  };
}

function denialOf(caller: Caller, decision: Decision): Denial | undefined {
  return caller.denial ?? (decision.allow ? undefined : decision.denial);
}
