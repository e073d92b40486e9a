/**
 * The corridor of every MCP method that is not a tool call: resources, prompts, completion. They are authorised by name
 * (`tool:<server>/method:rpc.resources.read`), passed on as they are, and recorded before the caller gets the answer.
 */
import type { Recorder } from '../audit/recorder.ts';
import { canonicalize } from '../core/canonical-json.ts';
import type { Clock } from '../core/clock.ts';
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject } from '../core/json.ts';
import type { TakeCharges } from '../core/limit.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import { type McpServer, type Registry, serverNotFound, type UpstreamAnswer } from '../mcp/registry.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import { spendsOf } from '../policy/limits.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { overLimit } from './over-limit.ts';
import type { Refuse } from './refusal.ts';

export interface RelayRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly method: string;
  readonly params: JsonObject;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface RelayAnswer {
  /** What the server said, errors of its own included. */
  readonly answer: UpstreamAnswer;
  readonly auditRef: string;
}

export interface RelayOptions {
  readonly registry: Registry;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly recorder: Pick<Recorder, 'record' | 'ensureWritable'>;
  readonly refuse: Refuse;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

/** Throws the denial, `SERVER_NOT_FOUND`, what the server's failure is, and `AUDIT_UNAVAILABLE`. */
export type RelayMethod = (request: RelayRequest) => Promise<RelayAnswer>;

export function createRelayMethod(options: RelayOptions): RelayMethod {
  return async (request) => {
    const denial = judge(request, options.policyMode);
    options.telemetry.decided(denial);
    if (denial !== undefined) return await options.refuse('mcp.methods.relay', denial, request.caller, request.facts);
    const server = options.registry.get(request.serverId);
    if (server === undefined) throw serverNotFound(request.serverId);
    const limited = await overLimit(options.take, request.caller, server);
    if (limited !== undefined) return await settle(options, request, limited, 0);
    // No record, no answer: the log must be writable before the server is asked.
    await options.recorder.ensureWritable();
    return await ask(options, request, server);
  };
}

/** The name of a method in scopes: `resources/read` is `rpc.resources.read`. */
function scopeNameOf(method: string): string {
  return `rpc.${method.replaceAll('/', '.')}`;
}

function judge({ caller, serverId, method, params }: RelayRequest, mode: PolicyMode): Denial | undefined {
  if (caller.denial !== undefined) return caller.denial;
  const byName = decideByName({ server: serverId, method: scopeNameOf(method) }, caller, mode);
  if (!byName.allow) return byName.denial;
  // Uses are counted with the intents of tool calls, and there is none here.
  if (spendsOf(caller.authority).length > 0) return constraintDenial('constraint:max_calls');
  // Exactly what is sent: another member of the same name must not stand in for the one that counts.
  const decision = decideCall(byName, { class: 'read' }, params);
  return decision.allow ? undefined : decision.denial;
}

async function ask(options: RelayOptions, request: RelayRequest, server: McpServer): Promise<RelayAnswer> {
  const startedAtMs = options.clock.monotonic();
  const outcome = await relay(server, request);
  return await settle(options, request, outcome, Math.round(options.clock.monotonic() - startedAtMs));
}

/** Records what became of the request, and only then answers. */
async function settle(
  options: RelayOptions,
  request: RelayRequest,
  outcome: UpstreamAnswer | TalosError,
  latencyMs: number,
): Promise<RelayAnswer> {
  const { eventId } = await record(options, request, outcome, latencyMs);
  if (outcome instanceof TalosError) throw outcome.with({ auditRef: eventId });
  return { answer: outcome, auditRef: eventId };
}

async function relay(server: McpServer, request: RelayRequest): Promise<UpstreamAnswer | TalosError> {
  const { method, params, signal, facts } = request;
  try {
    return await server.relay({ method, params, signal, requestId: facts.requestId });
  } catch (error) {
    // A fault of our own must not leave the request without a record either.
    return error instanceof UpstreamError ? error : new TalosError('INTERNAL', { cause: error });
  }
}

function record(
  { recorder }: RelayOptions,
  request: RelayRequest,
  outcome: UpstreamAnswer | TalosError,
  latencyMs: number,
) {
  const { caller, facts, serverId, method: rpcMethod, params } = request;
  const isFailure = outcome instanceof TalosError || outcome.kind === 'error';
  return recorder.record({
    surfaceId: 'mcp.methods.relay',
    requestId: facts.requestId,
    principal: caller.principal,
    outcome: isFailure ? 'failure' : 'success',
    http: surfaceHttp('mcp.methods.relay', 200, facts),
    resource: { type: 'server', id: serverId },
    meta: {
      event_type: 'mcp_request',
      server_id: serverId,
      rpc_method: rpcMethod,
      request_hash: sha256Hex(canonicalize({ method: rpcMethod, params })),
      capability_hash: caller.authority?.capability.hash,
      latency_ms: latencyMs,
      ...outcomeMeta(outcome),
    },
  });
}

function outcomeMeta(outcome: UpstreamAnswer | TalosError) {
  if (outcome instanceof TalosError) return { error: outcome.code };
  const hash = { response_hash: sha256Hex(outcome.raw) };
  return outcome.kind === 'error' ? { ...hash, error: 'MCP_PROTOCOL', code: outcome.error.code } : hash;
}
