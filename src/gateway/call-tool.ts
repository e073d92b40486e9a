/**
 * The main corridor: one tool call, from its caller to the tool and back. Whatever becomes of it, the answer is given
 * only after its record is durable; when the log cannot be written, nothing is called.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, Companions, EventDraft, Reservation, Spend } from '../core/audit-event.ts';
import { canonicalize } from '../core/canonical-json.ts';
import type { Clock } from '../core/clock.ts';
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import type { TakeCharges } from '../core/limit.ts';
import { recordName } from '../core/record-name.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { KnownTool, KnownToolOf } from '../core/tool-class.ts';
import { type CatalogTool, type McpServer, type Registry, serverNotFound } from '../mcp/registry.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { type Allowed, decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import { spendsOf } from '../policy/limits.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { type CallKeys, callReservation, inFlight, settlementOf } from './call-keys.ts';
import {
  failed,
  fromUpstream,
  mayHaveRun,
  type Outcome,
  outcomeMeta,
  recordOutcomes,
  statusOf,
} from './call-outcome.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { overLimit } from './over-limit.ts';
import { denialError } from './refusal.ts';
import { schemaMismatch, type ToolError } from './tool-error.ts';

export interface ToolCall {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly toolName: string;
  readonly input: JsonObject;
  readonly sessionId?: string;
  /** Under the same key of the same caller the tool is called once; for a day the key answers what that came to. */
  readonly idempotencyKey?: string;
  /** Where the call came in, for its records; absent for the REST route. */
  readonly by?: 'mcp.native' | 'mcp.native.all';
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface ToolCallAnswer {
  readonly requestId: string;
  /** The id of the record of this call's outcome. */
  readonly auditRef: string;
  /** Whether the tool was called earlier, under the same key, and not now. */
  readonly isReplay: boolean;
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
  readonly callKeys: CallKeys;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

export type CallTool = (call: ToolCall) => Promise<ToolCallAnswer>;

/** A call with what every record of it names. */
interface HashedCall extends ToolCall {
  readonly requestHash: string;
  /** Of its idempotency key. */
  readonly reserves?: Reservation;
}

/** How far a call came, and what became of it, before anybody is told. */
interface Attempt {
  readonly outcome: Outcome;
  readonly tool?: CatalogTool;
  /** The record that says that the tool was about to be called. */
  readonly intentId?: string;
  /** The record of the outcome of an earlier call, of which this one has the answer. */
  readonly replayOf?: string;
}

/**
 * Resolves with what the tool said, its own errors included. Throws a `TalosError` for a denial and for a failure of the
 * gateway or the server; it carries the audit reference of the record that says so.
 */
export function createCallTool(options: CallToolOptions): CallTool {
  return async (asked) => {
    const startedAtMs = options.clock.monotonic();
    const call = hashed(asked);
    const attempted = await attempt(options, call);
    const timingMs = Math.round(options.clock.monotonic() - startedAtMs);
    const committed = await recordOutcome(options, call, attempted, timingMs);
    return answer(call, attempted, committed, timingMs);
  };
}

function hashed(call: ToolCall): HashedCall {
  const { caller, toolName, idempotencyKey: key } = call;
  const hash = requestHash(toolName, call.input);
  if (key === undefined) return { ...call, requestHash: hash };
  const reserves = callReservation({ ...call, principal: caller.principal, key, requestHash: hash });
  return { ...call, requestHash: hash, reserves };
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
  const refused = judgeCall(options, byName, tool, known, call);
  if (refused !== undefined) return { outcome: refused, tool };

  // 5. No record, no call. What may change something, and what may happen only so often, is on record before it is
  //    sent; for what only reads, the log must be writable, so that its outcome can be.
  const spends = spendsOf(caller.authority);
  const needsIntent = known.class !== 'read' || spends.length > 0 || call.reserves !== undefined;
  const intent = needsIntent ? await admit(options, call, tool, spends) : undefined;
  if (intent !== undefined && typeof intent !== 'string') return { ...intent, tool };
  if (intent === undefined) await options.recorder.ensureWritable();

  // 6. The call itself.
  const outcome = await dispatch(options, server, call);
  return intent === undefined ? { outcome, tool } : { outcome, tool, intentId: intent };
}

function denied(options: CallToolOptions, denial: Denial): Outcome {
  options.telemetry.decided(denial);
  return { kind: 'denied', denial };
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
  call: HashedCall,
): Outcome | undefined {
  const { input } = call;
  const { schemaHash, definitionHash } = tool;
  const decision = decideCall(allowed, { ...known, schemaHash, definitionHash }, input);
  if (!decision.allow) return denied(options, decision.denial);
  options.telemetry.decided(undefined);
  if (known.requiresKey && call.reserves === undefined) return failed(new TalosError('IDEMPOTENCY_KEY_REQUIRED'));
  const faults = tool.validate(input);
  return faults.length === 0 ? undefined : { kind: 'erred', error: schemaMismatch(faults) };
}

async function dispatch(options: CallToolOptions, server: McpServer, call: HashedCall): Promise<Outcome> {
  const { toolName, input, facts } = call;
  // Who left asks again under the key: the answer is to be there.
  const signal = call.reserves === undefined ? call.signal : new AbortController().signal;
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

/**
 * Puts on record that the tool is about to be called. Resolves with the id of that record, or with what the call comes to
 * without the tool. Throws `AUDIT_UNAVAILABLE` when the log cannot be written: then nothing was sent.
 */
async function admit(
  options: CallToolOptions,
  call: HashedCall,
  tool: CatalogTool,
  spends: readonly Spend[],
): Promise<string | Attempt> {
  const { callKeys } = options;
  const unusable = call.reserves && (await callKeys.unusable());
  if (unusable !== undefined) return { outcome: failed(unusable) };
  const intent = await recordIntent(options, call, tool, spends);
  if (!isStanding(intent)) return admitted(options, intent);
  const standing = await callKeys.standing(intent);
  if (standing !== undefined) return standing;
  // Nothing came of that call: this one may take its place, unless another one just did.
  const reserves = { ...(call.reserves as Reservation), replaces: intent.seq };
  const retried = await recordIntent(options, { ...call, reserves }, tool, spends);
  return isStanding(retried) ? inFlight : admitted(options, retried);
}

function isStanding({ reservation }: CommittedEvent): boolean {
  return reservation === 'replayed' || reservation === 'conflict';
}

function admitted(options: CallToolOptions, { eventId, reservation }: CommittedEvent): string | Attempt {
  if (reservation !== 'exhausted') return eventId;
  return { outcome: denied(options, constraintDenial('constraint:max_calls')) };
}

async function recordIntent(
  options: CallToolOptions,
  call: HashedCall,
  tool: CatalogTool,
  spends: readonly Spend[],
): Promise<CommittedEvent> {
  const { reserves } = call;
  return await options.recorder.record({
    ...callDraft(call),
    outcome: 'success',
    http: callHttp(call, 100),
    meta: { ...callMeta(call, tool), phase: 'intent' },
    companions: {
      opensIntent: true,
      ...(spends.length === 0 ? {} : { spends }),
      ...(reserves === undefined ? {} : { reserves }),
    },
  });
}

/** Throws `OUTCOME_UNRECORDED` when the tool may have run and the log cannot say so. */
async function recordOutcome(
  options: CallToolOptions,
  call: HashedCall,
  attempted: Attempt,
  timingMs: number,
): Promise<CommittedEvent> {
  const { outcome, intentId, replayOf } = attempted;
  if (call.reserves !== undefined && intentId !== undefined) await options.callKeys.keep(intentId, outcome);
  try {
    return await options.recorder.record(outcomeDraft(call, attempted, timingMs));
  } catch (error) {
    if (intentId !== undefined) options.abandonIntent(intentId);
    const wasCalled = replayOf === undefined && mayHaveRun(outcome);
    throw wasCalled ? new TalosError('OUTCOME_UNRECORDED', { cause: error }) : error;
  }
}

function outcomeDraft(call: HashedCall, attempted: Attempt, timingMs: number): EventDraft {
  const { outcome, tool, intentId, replayOf } = attempted;
  return {
    ...callDraft(call),
    outcome: recordOutcomes[outcome.kind],
    http: callHttp(call, statusOf(outcome)),
    meta: {
      ...callMeta(call, tool),
      ...(intentId === undefined ? {} : { phase: 'outcome', intent_id: intentId }),
      replay_of: replayOf,
      latency_ms: timingMs,
      ...outcomeMeta(outcome, call.caller),
    },
    ...(intentId === undefined
      ? {}
      : { companions: { closesIntent: intentId, ...settlement(call, intentId, outcome) } }),
  };
}

function settlement({ reserves }: HashedCall, intentId: string, outcome: Outcome): Pick<Companions, 'settlesKey'> {
  return reserves === undefined ? {} : { settlesKey: settlementOf(intentId, outcome) };
}

/** What every record of a call has in common. */
function callDraft(call: ToolCall): Pick<EventDraft, 'surfaceId' | 'requestId' | 'principal' | 'resource'> {
  return {
    surfaceId: 'mcp.tools.call',
    requestId: call.facts.requestId,
    principal: call.caller.principal,
    resource: { type: 'tool', id: recordName(`${call.serverId}/${call.toolName}`, bounds.recordNameCharsMax) },
  };
}

function callHttp(call: ToolCall, statusCode: number): EventDraft['http'] {
  return surfaceHttp(call.by ?? 'mcp.tools.call', statusCode, call.facts);
}

function callMeta(call: HashedCall, tool: CatalogTool | undefined): EventDraft['meta'] {
  return {
    event_type: 'mcp_tool_call',
    server_id: call.serverId,
    tool_name: recordName(call.toolName, bounds.recordNameCharsMax),
    request_hash: call.requestHash,
    idempotency_key_hash: call.reserves?.keyHash,
    schema_hash: tool?.schemaHash,
    definition_hash: tool?.definitionHash,
    session_id: call.sessionId,
    capability_hash: call.caller.authority?.capability.hash,
  };
}

/** hex sha256 of JCS of `{method, params}`, without `_meta`. */
function requestHash(name: string, input: JsonObject): string {
  const params: Record<string, JsonValue> = { name, arguments: input };
  return sha256Hex(canonicalize({ method: 'tools/call', params }));
}

function answer(call: ToolCall, attempted: Attempt, committed: CommittedEvent, timingMs: number): ToolCallAnswer {
  const { outcome, intentId, replayOf } = attempted;
  const auditRef = replayOf ?? committed.eventId;
  const head = { requestId: call.facts.requestId, auditRef, isReplay: replayOf !== undefined, timingMs };
  switch (outcome.kind) {
    case 'answered':
      return { ...head, result: { output: outcome.output } };
    case 'erred':
      return { ...head, result: { error: outcome.error } };
    case 'failed':
      throw outcome.error.with({ auditRef, ...retryOf(outcome, intentId) });
    case 'denied':
      throw denialError(outcome.denial, auditRef);
  }
}

/** What may have changed something must not be repeated blindly, whatever the table says of its failure. */
function retryOf(outcome: Outcome & { kind: 'failed' }, intentId: string | undefined): { retryable?: boolean } {
  return outcome.dispatched && intentId !== undefined ? { retryable: false } : {};
}
