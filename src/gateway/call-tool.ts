/**
 * The main corridor: one tool call, from its caller to the tool and back. Whatever becomes of it, the answer is given
 * only after its record is durable; when the log cannot be written, nothing is called.
 */
import type { Recorder } from '../audit/recorder.ts';
import type { CommittedEvent, Reservation, Spend } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { TakeCharges } from '../core/limit.ts';
import type { KnownTool, KnownToolOf } from '../core/tool-class.ts';
import { contradictingMirror } from '../mcp/protocol/mirror-headers.ts';
import type { CatalogTool, McpServer } from '../mcp/registry.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { type Allowed, decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import { spendsOf } from '../policy/limits.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Approvals, Permit } from './approvals.ts';
import type { CallInput } from './call-input.ts';
import { type CallKeys, callReservation, inFlight } from './call-keys.ts';
import { failed, mayHaveRun, type Outcome } from './call-outcome.ts';
import { type EndedCall, intentDraft, outcomeDraft } from './call-records.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { dispatchCall } from './dispatch-call.ts';
import { overLimit } from './over-limit.ts';
import type { Passage } from './passage.ts';
import { denialError } from './refusal.ts';
import { requestHash } from './request-hash.ts';
import type { CheckResult } from './result-check.ts';
import type { ServerFor } from './server-for.ts';
import type { Dispatched } from './stay.ts';
import { headerMismatch, schemaMismatch, type ToolError } from './tool-error.ts';
import type { ToolPins } from './tool-pins.ts';

export interface ToolCall {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly toolName: string;
  readonly input: JsonObject;
  readonly sessionId?: string;
  /** Under the same key of the same caller the tool is called once; for a day the key answers what that came to. */
  readonly idempotencyKey?: string;
  /** What the caller was told when a human had to approve the call; it is resumed then. */
  readonly approvalId?: string;
  /** How long the caller waits for a human, in place of what is set. Seconds. */
  readonly waitSec?: number;
  /** Where the call came in, for its records; absent for the REST route. */
  readonly by?: 'mcp.native' | 'mcp.native.all';
  /** What the client gives to a tool that asked for input in place of an answer. */
  readonly given?: CallInput;
  readonly passage?: Passage;
  /** Headers that must tell what arguments tell, where the schema says so; by names in lower case. */
  readonly headerOf?: (name: string) => string | undefined;
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
  /** The output is what the tool asks for before it answers. */
  readonly asksInput?: true;
  /** Exactly one of the two. */
  readonly result: { readonly output: JsonObject } | { readonly error: ToolError };
}

export interface CallToolOptions {
  readonly serverFor: ServerFor;
  readonly knownTool: KnownToolOf;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly recorder: Pick<Recorder, 'record' | 'ensureWritable'>;
  /** Told of an intent whose outcome this process could not record. */
  readonly abandonIntent: (intentId: string) => void;
  readonly callKeys: CallKeys;
  readonly pins: Pick<ToolPins, 'judge' | 'upToDate'>;
  readonly approvals: Approvals;
  readonly checkResult: CheckResult;
  /** Why what the caller has counts no longer. */
  readonly validity: (caller: Caller) => Promise<Denial | undefined>;
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
interface Attempt extends EndedCall {
  /** How the records of a call in several rounds call it. */
  readonly stayName?: string;
  /** What the approval of the call by a human made of it. */
  readonly permit?: Permit;
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
    const named = attempted.stayName === undefined ? {} : { sessionId: attempted.stayName };
    const committed = await recordOutcome(options, { ...call, ...attempted.permit, ...named }, attempted, timingMs);
    return answer(call, attempted, committed, timingMs);
  };
}

function hashed(call: ToolCall): HashedCall {
  const { caller, toolName, idempotencyKey: key } = call;
  const hash = requestHash(toolName, call.input, call.given);
  if (key === undefined) return { ...call, requestHash: hash };
  // Under its key a call is the same one in every round of questions and answers.
  const ofCall = requestHash(toolName, call.input);
  const reserves = callReservation({ ...call, principal: caller.principal, key, requestHash: ofCall });
  return { ...call, requestHash: hash, reserves };
}

/** The steps in their order. Each may end the call; none of them tells anybody yet. `isAgain`: a human was waited for. */
async function attempt(options: CallToolOptions, call: HashedCall, isAgain = false): Promise<Attempt> {
  const { caller, serverId, toolName } = call;

  // 1. By names alone, so that nobody learns of tools that they may not call.
  const ended = isAgain ? await options.validity(caller) : caller.denial;
  if (ended !== undefined) return { outcome: denied(options, ended) };
  const byName = decideByName({ server: serverId, method: toolName }, caller, options.policyMode);
  if (!byName.allow) return { outcome: denied(options, byName.denial) };

  const server = options.serverFor(serverId, caller);
  if (server instanceof TalosError) return { outcome: failed(server) };

  // 2. How often: what the server's entry and every link of the capability say.
  const limited = isAgain ? undefined : await overLimit(options.take, caller, server);
  if (limited !== undefined) return { outcome: failed(limited) };

  // 3. The tool, as its server defines it, for everybody or in the caller's own session.
  const tool = await findTool(options, server, call);
  if (tool instanceof TalosError) return { outcome: failed(tool) };

  const changed = await options.pins.judge(server, tool).catch(ofGateway);
  if (changed instanceof TalosError) return { outcome: failed(changed), tool };
  if (changed !== undefined) return { outcome: denied(options, changed), tool };

  // 4. By definition and arguments, then by the tool's own schema.
  const known = options.knownTool(serverId, toolName);
  const refused = judgeCall(options, byName, tool, known, call);
  if (refused !== undefined) return { outcome: refused, tool };

  // A human, where a policy of the team says so. What is approved is called under a key, so that it is called once.
  const passed = await options.approvals.pass({ ...call, definitionHash: tool.definitionHash });
  if ('outcome' in passed) return { ...passed, tool };
  // Whoever was allowed before the wait may not be any more, and the tool may be another one.
  if (passed.hasWaited && !isAgain) {
    return { ...passed, ...(await attempt(options, { ...call, ...passed.permit, waitSec: 0 }, true)) };
  }
  const after = await callTool(options, server, tool, { ...call, ...passed.permit }, known);
  return { ...after, ...passed, tool };
}

/** The steps of a call that is allowed. */
async function callTool(
  options: CallToolOptions,
  server: McpServer,
  tool: CatalogTool,
  call: HashedCall,
  known: KnownTool,
): Promise<Attempt> {
  const { caller, facts, signal } = call;
  const stay = await call.passage?.stayFor?.(server, call);
  if (stay instanceof TalosError) return { outcome: failed(stay) };

  // 5. No record, no call. What may change something, and what may happen only so often, is on record before it is
  //    sent; for what only reads, the log must be writable, so that its outcome can be.
  const spends = spendsOf(caller.authority);
  const isSent = stay?.hasBegun !== true;
  const needsIntent = isSent && (known.class !== 'read' || spends.length > 0 || call.reserves !== undefined);
  const named = stay === undefined ? call : { ...call, sessionId: stay.name };
  const intent = needsIntent ? await admit(options, named, tool, spends) : undefined;
  if (intent !== undefined && typeof intent !== 'string') return intent;
  if (intent === undefined) await options.recorder.ensureWritable();

  // 6. The call itself. Who left asks again under the key: the answer is to be there.
  const patience = call.reserves === undefined ? signal : new AbortController().signal;
  const startedAtMs = options.clock.monotonic();
  const end = (dispatched: Dispatched) =>
    recordOutcome(options, named, { ...dispatched, tool }, Math.round(options.clock.monotonic() - startedAtMs));
  const round = { ...call, requestId: facts.requestId, signal: patience, end, ...(intent && { intentId: intent }) };
  const dispatched = await dispatchCall(options, server, round, stay);
  return stay === undefined ? dispatched : { ...dispatched, stayName: stay.name };
}

function denied(options: CallToolOptions, denial: Denial): Outcome {
  options.telemetry.decided(denial);
  return { kind: 'denied', denial };
}

/** The tool, or the error that says why there is none. */
async function findTool(
  { pins }: CallToolOptions,
  server: McpServer,
  { toolName, passage, signal }: ToolCall,
): Promise<CatalogTool | TalosError> {
  const source = passage?.toolsAt?.(server) ?? server;
  try {
    const read = async () => [await source.tool(toolName, signal)].filter((tool) => tool !== undefined);
    const [tool] = await pins.upToDate(server, source, read);
    return tool ?? new TalosError('TOOL_NOT_FOUND');
  } catch (error) {
    return ofGateway(error);
  }
}

/** An error that is an outcome; what is not one is thrown on. */
function ofGateway(error: unknown): TalosError {
  if (error instanceof TalosError) return error;
  throw error;
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
  const header = call.headerOf && contradictingMirror(tool.mirrors, input, call.headerOf);
  if (header !== undefined) return failed(headerMismatch(header));
  const faults = tool.validate(input);
  return faults.length === 0 ? undefined : { kind: 'erred', error: schemaMismatch(faults) };
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
  const intent = await options.recorder.record(intentDraft(call, tool, spends));
  if (!isStanding(intent)) return admitted(options, intent);
  const standing = await callKeys.standing(intent);
  if (standing !== undefined) return standing;
  // Nothing came of that call: this one may take its place, unless another one just did.
  const reserves = { ...(call.reserves as Reservation), replaces: intent.seq };
  const retried = await options.recorder.record(intentDraft({ ...call, reserves }, tool, spends));
  return isStanding(retried) ? inFlight : admitted(options, retried);
}

function isStanding({ reservation }: CommittedEvent): boolean {
  return reservation === 'replayed' || reservation === 'conflict';
}

function admitted(options: CallToolOptions, { eventId, reservation }: CommittedEvent): string | Attempt {
  if (reservation !== 'exhausted') return eventId;
  return { outcome: denied(options, constraintDenial('constraint:max_calls')) };
}

/** Throws `OUTCOME_UNRECORDED` when the tool may have run and the log cannot say so. */
async function recordOutcome(
  options: CallToolOptions,
  call: HashedCall,
  attempted: Attempt,
  timingMs: number,
): Promise<CommittedEvent> {
  const { outcome, intentId, replayOf } = attempted;
  const resultFault = options.checkResult(call.serverId, attempted);
  if (call.reserves !== undefined && intentId !== undefined) await options.callKeys.keep(intentId, outcome);
  try {
    return await options.recorder.record(outcomeDraft(call, { ...attempted, resultFault }, timingMs));
  } catch (error) {
    if (intentId !== undefined) options.abandonIntent(intentId);
    const wasCalled = replayOf === undefined && mayHaveRun(outcome);
    throw wasCalled ? new TalosError('OUTCOME_UNRECORDED', { cause: error }) : error;
  }
}

function answer(call: ToolCall, attempted: Attempt, committed: CommittedEvent, timingMs: number): ToolCallAnswer {
  const { outcome, intentId, replayOf } = attempted;
  const auditRef = replayOf ?? committed.eventId;
  const head = { requestId: call.facts.requestId, auditRef, isReplay: replayOf !== undefined, timingMs };
  switch (outcome.kind) {
    case 'answered':
      return { ...head, result: { output: outcome.output } };
    case 'asked':
      return { ...head, asksInput: true, result: { output: outcome.output } };
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
