/** What a caller may see of the tool servers: lists hold only what they may call or see. Refusals of known callers are recorded. */
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import {
  type CatalogTool,
  type McpServer,
  type Registry,
  type ServerSummary,
  serverNotFound,
} from '../mcp/registry.ts';
import { type Decision, decideByName, decideReach, decideSee, type PolicyMode } from '../policy/decide.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import type { Refuse } from './refusal.ts';

export interface ServerRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly signal: AbortSignal;
}

/** Each throws the denial, `SERVER_NOT_FOUND`, `TOOL_NOT_FOUND`, or what the server's failure is. */
export interface ListTools {
  readonly servers: (caller: Caller) => ServerSummary[];
  /** What a server says of itself, less what the caller may not use and what the gateway does not pass on. */
  readonly hello: (request: ServerRequest) => Promise<JsonObject>;
  /** The definitions, as the server gave them. */
  readonly tools: (request: ServerRequest) => Promise<JsonObject[]>;
  readonly tool: (request: ServerRequest & { readonly toolName: string }) => Promise<CatalogTool>;
}

export interface ListToolsOptions {
  readonly registry: Registry;
  readonly policyMode: PolicyMode;
  readonly refuse: Refuse;
  readonly telemetry: Telemetry;
}

export function createListTools(options: ListToolsOptions): ListTools {
  const { registry, policyMode, refuse, telemetry } = options;

  const mayReach = (caller: Caller, serverId: string) => decideReach(serverId, caller, policyMode);
  const maySee = (caller: Caller, serverId: string, toolName: string) =>
    decideSee({ server: serverId, method: toolName }, caller, policyMode);

  async function permit(surfaceId: SurfaceId, request: ServerRequest, decision: Decision): Promise<void> {
    const denial = denialOf(request.caller, decision);
    telemetry.decided(denial);
    if (denial !== undefined) await refuse(surfaceId, denial, request.caller, request.facts);
  }

  function find(serverId: string): McpServer {
    const server = registry.get(serverId);
    if (server !== undefined) return server;
    throw serverNotFound(serverId);
  }

  return {
    servers: (caller) => registry.servers().filter(({ id }) => denialOf(caller, mayReach(caller, id)) === undefined),
    async hello(request) {
      const { caller, serverId, signal } = request;
      await permit('mcp.native', request, mayReach(caller, serverId));
      const { capabilities, ...about } = await find(serverId).hello(signal);
      const usable = passedOn.filter(
        ([name, scope]) =>
          capabilities[name] !== undefined &&
          decideByName({ server: serverId, method: scope }, caller, policyMode).allow,
      );
      return { ...about, capabilities: { tools: {}, ...Object.fromEntries(usable.map(([name]) => [name, {}])) } };
    },
    async tools(request) {
      const { caller, serverId, signal } = request;
      await permit('mcp.tools.list', request, mayReach(caller, serverId));
      const tools = await find(serverId).listTools(signal);
      return tools.filter(({ name }) => maySee(caller, serverId, name).allow);
    },
    async tool(request) {
      const { caller, serverId, toolName, signal } = request;
      await permit('mcp.tools.schema', request, maySee(caller, serverId, toolName));
      const tool = await find(serverId).tool(toolName, signal);
      if (tool === undefined) throw new TalosError('TOOL_NOT_FOUND');
      return tool;
    },
  };
}

/** Capabilities of servers that the gateway passes on beside tools, and the scope that each asks for. */
const passedOn = [
  ['resources', 'rpc.resources.read'],
  ['prompts', 'rpc.prompts.get'],
  ['completions', 'rpc.completion.complete'],
] as const;

function denialOf(caller: Caller, decision: Decision): Denial | undefined {
  return caller.denial ?? (decision.allow ? undefined : decision.denial);
}
