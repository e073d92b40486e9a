/**
 * The corridor of every MCP method that is not a tool call: resources, prompts, completion. They are authorised by name
 * (`tool:<server>/method:rpc.resources.read`), passed on as they are, and recorded before the caller gets the answer.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject } from '../core/json.ts';
import type { TakeCharges } from '../core/limit.ts';
import { recordName } from '../core/record-name.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { McpServer, UpstreamAnswer } from '../mcp/registry.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import type { PolicyMode } from '../policy/decide.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { overLimit } from './over-limit.ts';
import { alongTo, askedFor, type Passage } from './passage.ts';
import type { Refuse } from './refusal.ts';
import { rpcHash } from './request-hash.ts';
import { rightMeta } from './right-meta.ts';
import { judgeRpc } from './rpc-authority.ts';
import { foundServer, type ServerFor } from './server-for.ts';

export interface RelayRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly method: string;
  readonly params: JsonObject;
  /** Where it came in; absent for the server's own address. */
  readonly by?: 'mcp.native.all';
  readonly passage?: Passage;
  /** Of the session that it belongs to, for its record. */
  readonly sessionName?: string;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export interface RelayAnswer {
  /** What the server said, errors of its own included. */
  readonly answer: UpstreamAnswer;
  readonly auditRef: string;
}

export interface RelayOptions {
  readonly serverFor: ServerFor;
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
    const denial = judgeRpc(request, options.policyMode);
    options.telemetry.decided(denial);
    if (denial !== undefined) {
      const { caller, facts, serverId, method, by } = request;
      const asked = { server_id: recordName(serverId, bounds.recordNameCharsMax), rpc_method: method };
      return await options.refuse('mcp.methods.relay', denial, caller, facts, asked, by);
    }
    const server = foundServer(options.serverFor, request.serverId, request.caller);
    const limited = await overLimit(options.take, request.caller, server);
    if (limited !== undefined) return await settle(options, request, limited, 0);
    // No record, no answer: the log must be writable before the server is asked.
    await options.recorder.ensureWritable();
    return await ask(options, request, server);
  };
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
  outcome: RelayedAnswer | TalosError,
  latencyMs: number,
): Promise<RelayAnswer> {
  const { eventId } = await record(options, request, outcome, latencyMs);
  if (outcome instanceof TalosError) throw outcome.with({ auditRef: eventId });
  return { answer: outcome, auditRef: eventId };
}

async function relay(server: McpServer, request: RelayRequest): Promise<RelayedAnswer | TalosError> {
  const { method, params, signal, facts, passage = {} } = request;
  try {
    const line = passage.lineTo === undefined ? server : await passage.lineTo(server);
    const along = alongTo(server, passage);
    const answer = await line.relay({ method, params, signal, requestId: facts.requestId, ...along });
    if (answer.kind !== 'input_required' || along.client === undefined) return answer;
    return { ...answer, askedFor: askedFor(answer.result, along.client) };
  } catch (error) {
    // A fault of our own must not leave the request without a record either.
    return error instanceof UpstreamError ? error : new TalosError('INTERNAL', { cause: error });
  }
}

/** With the methods of what the server asks for in place of an answer. */
type RelayedAnswer = UpstreamAnswer & { readonly askedFor?: string };

function record(
  { recorder }: RelayOptions,
  request: RelayRequest,
  outcome: RelayedAnswer | TalosError,
  latencyMs: number,
) {
  const { caller, facts, serverId, method: rpcMethod, params, by, sessionName } = request;
  const isFailure = outcome instanceof TalosError || outcome.kind === 'error';
  return recorder.record({
    surfaceId: 'mcp.methods.relay',
    requestId: facts.requestId,
    principal: caller.principal,
    outcome: isFailure ? 'failure' : 'success',
    http: surfaceHttp(by ?? 'mcp.methods.relay', 200, facts),
    resource: { type: 'server', id: serverId },
    meta: {
      event_type: 'mcp_request',
      server_id: serverId,
      rpc_method: rpcMethod,
      request_hash: rpcHash(rpcMethod, params),
      ...rightMeta(caller),
      session_id: sessionName,
      latency_ms: latencyMs,
      ...outcomeMeta(outcome),
    },
  });
}

function outcomeMeta(outcome: RelayedAnswer | TalosError) {
  if (outcome instanceof TalosError) return { error: outcome.code };
  const hash = { response_hash: sha256Hex(outcome.raw), asked_for: outcome.askedFor };
  return outcome.kind === 'error' ? { ...hash, error: 'MCP_PROTOCOL', code: outcome.error.code } : hash;
}
