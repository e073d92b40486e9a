/**
 * The main corridor: one tool call, from its caller to the tool and back. Whatever becomes of it, the answer is given
 * only after its record is durable; when the log cannot be written, nothing is called.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, EventDraft, Spend } from '../core/audit-event.ts';
import { canonicalize } from '../core/canonical-json.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, denialCode } from '../core/denial.ts';
import { errorTable, TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import type { TakeCharges } from '../core/limit.ts';
import { surfaces } from '../core/surfaces.ts';
import type { KnownTool, KnownToolOf } from '../core/tool-class.ts';
import {
  type CatalogTool,
  type McpServer,
  type Registry,
  serverNotFound,
  type UpstreamAnswer,
} from '../mcp/registry.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { type Allowed, decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import { spendsOf } from '../policy/limits.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { overLimit } from './over-limit.ts';
import { clientIpMember, denialError, denialMeta } from './refusal.ts';
import { jsonRpcError, schemaMismatch, type ToolError, toolError } from './tool-error.ts';

export interface ToolCall {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly toolName: string;
  readonly input: JsonObject;
  readonly sessionId?: string;
  /** Where the call came in, for its records; absent for the REST route. */
  readonly by?: 'mcp.native' | 'mcp.native.all';
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface ToolCallAnswer {
  readonly requestId: string;
  /** The id of the record of this call's outcome. */
  readonly auditRef: string;
  readonly timingMs: number;
  /** Exactly one of the two. */
  readonly result: { readonly output: JsonObject } | { readonly error: ToolError };
}

export interface CallToolOptions {
  readonly registry: Registry;
  readonly knownTool: KnownToolOf;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly recorder: Pick<Recorder, 'record' | 'ensureWritable'>;
  /** Told of an intent whose outcome this process could not record. */
  readonly abandonIntent: (intentId: string) => void;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

export type CallTool = (call: ToolCall) => Promise<ToolCallAnswer>;

/** A call with what every record of it names. */
interface HashedCall extends ToolCall {
  readonly requestHash: string;
}

/** How far a call came, and what became of it, before anybody is told. */
interface Attempt {
  readonly outcome: Outcome;
  readonly tool?: CatalogTool;
  /** The record that says that the tool was about to be called. */
  readonly intentId?: string;
}

/** What became of a call. */
type Outcome =
  | { readonly kind: 'answered'; readonly output: JsonObject; readonly raw: Buffer }
  | { readonly kind: 'erred'; readonly error: ToolError; readonly raw?: Buffer }
  | { readonly kind: 'failed'; readonly error: TalosError; readonly dispatched: boolean }
  | { readonly kind: 'denied'; readonly denial: Denial };

/**
 * Resolves with what the tool said, its own errors included. Throws a `TalosError` for a denial and for a failure of the
 * gateway or the server; it carries the audit reference of the record that says so.
 */
export function createCallTool(options: CallToolOptions): CallTool {
  return async (asked) => {
    const startedAtMs = options.clock.monotonic();
    const call = { ...asked, requestHash: requestHash(asked.toolName, asked.input) };
    const attempted = await attempt(options, call);
    const timingMs = Math.round(options.clock.monotonic() - startedAtMs);
    const committed = await recordOutcome(options, call, attempted, timingMs);
    return answer(call, attempted, committed, timingMs);
  };
}

/** The steps in their order. Each may end the call; none of them tells anybody yet. */
async function attempt(options: CallToolOptions, call: HashedCall): Promise<Attempt> {
  const { caller, serverId, toolName, signal } = call;

  // 1. By names alone, so that nobody learns of tools that they may not call.
  if (caller.denial !== undefined) return { outcome: denied(options, caller.denial) };
  const byName = decideByName({ server: serverId, method: toolName }, caller, options.policyMode);
  if (!byName.allow) return { outcome: denied(options, byName.denial) };

  const server = options.registry.get(serverId);
  if (server === undefined) return { outcome: failed(serverNotFound(serverId)) };

  // 2. How often: what the server's entry and every link of the capability say.
  const limited = await overLimit(options.take, caller, server);
  if (limited !== undefined) return { outcome: failed(limited) };

  // 3. The tool, as its server defines it.
  const tool = await findTool(server, toolName, signal);
  if (tool instanceof TalosError) return { outcome: failed(tool) };

  // 4. By definition and arguments, then by the tool's own schema.
  const known = options.knownTool(serverId, toolName);
  const refused = judgeCall(options, byName, tool, known, call.input);
  if (refused !== undefined) return { outcome: refused, tool };

  // 5. No record, no call. What may change something, and what may happen only so often, is on record before it is
  //    sent; for what only reads, the log must be writable, so that its outcome can be.
  const spends = spendsOf(caller.authority);
  const needsIntent = known.class !== 'read' || spends.length > 0;
  const intentId = needsIntent ? await recordIntent(options, call, tool, spends) : undefined;
  if (intentId === 'exhausted') return { outcome: denied(options, constraintDenial('constraint:max_calls')), tool };
  if (intentId === undefined) await options.recorder.ensureWritable();

  // 6. The call itself.
  const outcome = await dispatch(options, server, call);
  return intentId === undefined ? { outcome, tool } : { outcome, tool, intentId };
}

function denied(options: CallToolOptions, denial: Denial): Outcome {
  options.telemetry.decided(denial);
  return { kind: 'denied', denial };
}

function failed(error: TalosError, dispatched = false): Outcome {
  return { kind: 'failed', error, dispatched };
}

/** The tool, or the error that says why there is none. */
async function findTool(server: McpServer, name: string, signal: AbortSignal): Promise<CatalogTool | TalosError> {
  try {
    return (await server.tool(name, signal)) ?? new TalosError('TOOL_NOT_FOUND');
  } catch (error) {
    if (error instanceof TalosError) return error;
    throw error;
  }
}

function judgeCall(
  options: CallToolOptions,
  allowed: Allowed,
  tool: CatalogTool,
  known: KnownTool,
  input: JsonObject,
): Outcome | undefined {
  const { schemaHash, definitionHash } = tool;
  const decision = decideCall(allowed, { ...known, schemaHash, definitionHash }, input);
  if (!decision.allow) return denied(options, decision.denial);
  options.telemetry.decided(undefined);
  const faults = tool.validate(input);
  return faults.length === 0 ? undefined : { kind: 'erred', error: schemaMismatch(faults) };
}

async function dispatch(options: CallToolOptions, server: McpServer, call: ToolCall): Promise<Outcome> {
  const { toolName, input, facts, signal } = call;
  const startedAtMs = options.clock.monotonic();
  const outcome = await ask(server, { name: toolName, args: input, requestId: facts.requestId, signal });
  const seconds = (options.clock.monotonic() - startedAtMs) / 1000;
  options.telemetry.toolAnswered({ serverId: server.id, outcome: outcome.kind, seconds });
  return outcome;
}

async function ask(server: McpServer, request: Parameters<McpServer['callTool']>[0]): Promise<Outcome> {
  try {
    return fromUpstream(await server.callTool(request));
  } catch (error) {
    if (error instanceof UpstreamError) return failed(error, error.dispatched);
    // A fault of our own: it must not leave the call without an outcome.
    return failed(new TalosError('INTERNAL', { cause: error }), true);
  }
}

function fromUpstream(answer: UpstreamAnswer): Outcome {
  if (answer.kind === 'error') return { kind: 'erred', error: jsonRpcError(answer.error), raw: answer.raw };
  if (answer.isError) return { kind: 'erred', error: toolError(answer.result), raw: answer.raw };
  return { kind: 'answered', output: answer.result, raw: answer.raw };
}

/** Throws `AUDIT_UNAVAILABLE` when the log cannot be written: then nothing was sent. */
async function recordIntent(
  options: CallToolOptions,
  call: HashedCall,
  tool: CatalogTool,
  spends: readonly Spend[],
): Promise<string | 'exhausted'> {
  const { eventId, reservation } = await options.recorder.record({
    ...callDraft(call),
    outcome: 'success',
    http: callHttp(call, 100),
    meta: { ...callMeta(call, tool), phase: 'intent' },
    companions: { opensIntent: true, ...(spends.length === 0 ? {} : { spends }) },
  });
  return reservation === 'exhausted' ? reservation : eventId;
}

/** Throws `OUTCOME_UNRECORDED` when the tool may have run and the log cannot say so. */
async function recordOutcome(
  options: CallToolOptions,
  call: HashedCall,
  attempted: Attempt,
  timingMs: number,
): Promise<CommittedEvent> {
  try {
    return await options.recorder.record(outcomeDraft(call, attempted, timingMs));
  } catch (error) {
    if (attempted.intentId !== undefined) options.abandonIntent(attempted.intentId);
    throw mayHaveRun(attempted.outcome) ? new TalosError('OUTCOME_UNRECORDED', { cause: error }) : error;
  }
}

function mayHaveRun(outcome: Outcome): boolean {
  if (outcome.kind === 'failed') return outcome.dispatched;
  return outcome.kind === 'answered' || (outcome.kind === 'erred' && outcome.raw !== undefined);
}

function outcomeDraft(call: HashedCall, { outcome, tool, intentId }: Attempt, timingMs: number): EventDraft {
  return {
    ...callDraft(call),
    outcome: recordOutcomes[outcome.kind],
    http: callHttp(call, statusOf(outcome)),
    meta: {
      ...callMeta(call, tool),
      ...(intentId === undefined ? {} : { phase: 'outcome', intent_id: intentId }),
      latency_ms: timingMs,
      ...outcomeMeta(outcome, call.caller),
    },
    ...(intentId === undefined ? {} : { companions: { closesIntent: intentId } }),
  };
}

/** What every record of a call has in common. */
function callDraft(call: ToolCall): Pick<EventDraft, 'surfaceId' | 'requestId' | 'principal' | 'resource'> {
  return {
    surfaceId: 'mcp.tools.call',
    requestId: call.facts.requestId,
    principal: call.caller.principal,
    resource: { type: 'tool', id: shortName(`${call.serverId}/${call.toolName}`) },
  };
}

function callHttp(call: ToolCall, statusCode: number): EventDraft['http'] {
  const { method, template } = surfaces[call.by ?? 'mcp.tools.call'];
  return { method, path: template, statusCode, ...clientIpMember(call.facts) };
}

function callMeta(call: HashedCall, tool: CatalogTool | undefined): EventDraft['meta'] {
  return {
    event_type: 'mcp_tool_call',
    server_id: call.serverId,
    tool_name: shortName(call.toolName),
    request_hash: call.requestHash,
    schema_hash: tool?.schemaHash,
    definition_hash: tool?.definitionHash,
    session_id: call.sessionId,
    capability_hash: call.caller.authority?.capability.hash,
  };
}

const recordOutcomes = { answered: 'success', erred: 'failure', failed: 'failure', denied: 'denied' } as const;

function statusOf(outcome: Outcome): number {
  if (outcome.kind === 'failed') return outcome.error.status;
  if (outcome.kind === 'denied') return errorTable[denialCode(outcome.denial.reason)].status;
  return 200;
}

function outcomeMeta(outcome: Outcome, caller: Caller): EventDraft['meta'] {
  switch (outcome.kind) {
    case 'answered':
      return { response_hash: sha256Hex(outcome.raw) };
    case 'erred':
      return {
        error: outcome.error.category,
        code: outcome.error.code,
        response_hash: outcome.raw === undefined ? undefined : sha256Hex(outcome.raw),
      };
    case 'failed':
      return { error: outcome.error.code };
    case 'denied':
      return denialMeta(outcome.denial, caller);
  }
}

/** A name as a record can hold it: cut, with a hash of the whole, when it is longer than the schema allows. */
function shortName(name: string): string {
  if (name.length <= bounds.recordNameCharsMax) return name;
  return `${name.slice(0, bounds.recordNameCharsMax - 17)}#${sha256Hex(name).slice(0, 16)}`.toWellFormed();
}

/** hex sha256 of JCS of `{method, params}`, without `_meta`. */
function requestHash(name: string, input: JsonObject): string {
  const params: Record<string, JsonValue> = { name, arguments: input };
  return sha256Hex(canonicalize({ method: 'tools/call', params }));
}

function answer(call: ToolCall, attempted: Attempt, committed: CommittedEvent, timingMs: number): ToolCallAnswer {
  const { outcome, intentId } = attempted;
  const head = { requestId: call.facts.requestId, auditRef: committed.eventId, timingMs };
  switch (outcome.kind) {
    case 'answered':
      return { ...head, result: { output: outcome.output } };
    case 'erred':
      return { ...head, result: { error: outcome.error } };
    case 'failed':
      throw outcome.error.with({ auditRef: committed.eventId, ...retryOf(outcome, intentId) });
    case 'denied':
      throw denialError(outcome.denial, committed.eventId);
  }
}

/** What may have changed something must not be repeated blindly, whatever the table says of its failure. */
function retryOf(outcome: Outcome & { kind: 'failed' }, intentId: string | undefined): { retryable?: boolean } {
  return outcome.dispatched && intentId !== undefined ? { retryable: false } : {};
}
