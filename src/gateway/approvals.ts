/**
 * Calls that a human has to approve. One asking makes one request, however often and wherever it is repeated; who asks waits
 * a while and may ask again. What is approved is called once: the call is made under a key, as if its client had given
 * one, so neither a crash nor another gateway makes it twice, and who asks again gets what it came to.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { Reservation } from '../core/audit-event.ts';
import { canonicalize } from '../core/canonical-json.ts';
import type { Clock } from '../core/clock.ts';
import { deny } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject } from '../core/json.ts';
import type { KeyRing } from '../core/key-ring.ts';
import type { BearerPrincipal } from '../core/principal.ts';
import { recordName } from '../core/record-name.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { NewApproval, ToolApproval } from '../core/tool-approval.ts';
import { uuidv7 } from '../core/uuidv7.ts';
import type { TeamPolicyView } from '../policy/team-policies.ts';
import type { ChangeLock } from '../storage/change-lock.ts';
import { type ApprovalStore, isOf } from '../storage/tool-approvals.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { sealArguments } from './approval-arguments.ts';
import type { ApprovalWaiters } from './approval-waiters.ts';
import type { CallInput } from './call-input.ts';
import type { CallKeys } from './call-keys.ts';
import { failed, type Outcome } from './call-outcome.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { requestHash } from './request-hash.ts';
import { rightMeta } from './right-meta.ts';

/** A call that everything but a human allows. */
export interface AllowedCall {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly by?: 'mcp.native' | 'mcp.native.all';
  readonly serverId: string;
  readonly toolName: string;
  readonly input: JsonObject;
  /** What the tool has asked for before it answers; in every round a call is approved as the same one. */
  readonly given?: CallInput;
  readonly definitionHash: string;
  /** Of the idempotency key that the client gave. */
  readonly reserves?: Reservation;
  /** What the client was told when it asked before. */
  readonly approvalId?: string;
  /** How long the client waits, in place of what is set. Seconds. */
  readonly waitSec?: number;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

/** What an approval makes of a call: its records name it, and it is made under the approval's key. */
export interface Permit {
  readonly approvalId?: string;
  readonly reserves?: Reservation;
}

/** A call may be made, or it comes to something without the tool. */
export type Passed =
  | {
      readonly permit: Permit;
      /** Time has passed: what allowed the call before may allow it no longer. */
      readonly hasWaited?: true;
    }
  | { readonly permit: Permit; readonly outcome: Outcome; readonly replayOf?: string };

export interface Approvals {
  /** What fails on the way is an outcome too; nothing was called then. */
  readonly pass: (call: AllowedCall) => Promise<Passed>;
}

export interface ApprovalsOptions {
  readonly policies: Pick<TeamPolicyView, 'demandsApproval'>;
  readonly store: ApprovalStore;
  readonly waiters: ApprovalWaiters;
  readonly callKeys: Pick<CallKeys, 'standing'>;
  readonly readKeys: () => Promise<KeyRing>;
  readonly recorder: Pick<Recorder, 'record'>;
  /** Held while an approval is asked for, one caller after the other. */
  readonly changeLock: ChangeLock;
  readonly waitSecDefault: number;
  readonly ttlSec: number;
  readonly clock: Pick<Clock, 'now'>;
  readonly telemetry: Pick<Telemetry, 'approvalChanged'>;
}

/** A call with what it is approved as. */
interface ApprovableCall extends AllowedCall {
  /** hex sha256 of what is called with what. */
  readonly requestHash: string;
}

export function createApprovals(options: ApprovalsOptions): Approvals {
  const { policies, store, waiters, waitSecDefault } = options;

  async function judge(call: ApprovableCall, principal: BearerPrincipal): Promise<Passed> {
    const approval = await standingApproval(options, call, principal);
    if (approval instanceof TalosError) return stopped(failed(approval));
    if (approval.decision !== 'pending' || approval.isExpired) return await passedBy(options, call, approval);
    const waitSec = Math.min(call.waitSec ?? waitSecDefault, bounds.approvalWaitSecMax);
    await waiters.wait(approval.approvalId, waitSec * 1000, call.signal);
    const passed = await passedBy(options, call, (await store.find(approval.approvalId)) ?? approval);
    return { ...passed, hasWaited: true };
  }

  return {
    async pass(call) {
      const { serverId: server, toolName, caller } = call;
      const isDemanded = policies.demandsApproval({ server, method: toolName }, caller.principal);
      if (call.approvalId === undefined && !isDemanded) return { permit: {} };
      // Nobody could ask again, and nobody would be another one.
      if (caller.principal.authMode === 'anonymous') return stopped(refused('approval_unavailable', unnamed));
      try {
        return await judge({ ...call, requestHash: requestHash(toolName, call.input) }, caller.principal);
      } catch (error) {
        if (error instanceof TalosError) return stopped(failed(error));
        throw error;
      }
    },
  };
}

const unnamed = 'A human has to approve this call, and callers without a name cannot ask for that.';

function stopped(outcome: Outcome, permit: Permit = {}): Passed {
  return { outcome, permit };
}

/** The approval that the call asks by, or a new one. */
async function standingApproval(
  options: ApprovalsOptions,
  call: ApprovableCall,
  principal: BearerPrincipal,
): Promise<ToolApproval | TalosError> {
  const { store } = options;
  const { approvalId } = call;
  if (approvalId !== undefined) {
    const approval = await store.find(approvalId);
    return approval !== undefined && isAskedBy(approval, call, principal) ? agreeing(approval, call) : notAsked();
  }
  const askHash = askHashOf(call, principal);
  // Who calls the same again without a key means another call, unless the first one has not ended.
  const find = () => store.findAsked(askHash, call.reserves !== undefined || call.given !== undefined);
  const known = await find();
  if (known !== undefined) return agreeing(known, call);
  return await options.changeLock(async () => {
    const meanwhile = await find();
    if (meanwhile !== undefined) return agreeing(meanwhile, call);
    return await ask(options, call, principal, askHash);
  });
}

function isAskedBy(
  approval: ToolApproval,
  { serverId, toolName }: ApprovableCall,
  principal: BearerPrincipal,
): boolean {
  return isOf(approval, { principalId: principal.id, teamId: principal.teamId, serverId, toolName });
}

/** An approval is of a call as it was asked for. */
function agreeing(approval: ToolApproval, call: ApprovableCall): ToolApproval | TalosError {
  if (approval.requestHash !== call.requestHash) {
    return call.approvalId === undefined ? new TalosError('IDEMPOTENCY_CONFLICT') : conflict('for other arguments');
  }
  if (call.reserves !== undefined && approval.keyHash !== call.reserves.keyHash) {
    return conflict('under another idempotency key');
  }
  if (approval.definitionHash !== call.definitionHash && !approval.isKept) {
    return conflict('for an earlier definition of the tool');
  }
  return approval;
}

function conflict(what: string): TalosError {
  return new TalosError('CONFLICT', { message: `The approval was asked for ${what}.` });
}

function notAsked(): TalosError {
  return new TalosError('NOT_FOUND', { message: 'This caller asked for no such approval of this tool.' });
}

function askHashOf(
  { serverId, toolName, requestHash: hash, definitionHash, reserves }: ApprovableCall,
  { id, teamId }: BearerPrincipal,
): string {
  if (reserves !== undefined) return reserves.keyHash;
  return sha256Hex(canonicalize(['mcp.approvals.ask', serverId, toolName, hash, definitionHash, id, teamId]));
}

async function ask(
  options: ApprovalsOptions,
  call: ApprovableCall,
  principal: BearerPrincipal,
  askHash: string,
): Promise<ToolApproval | TalosError> {
  const { store, recorder, readKeys, clock, ttlSec, telemetry } = options;
  const { id: principalId, teamId } = principal;
  if ((await store.countOpen(principalId, teamId)) >= bounds.approvalsPendingPerCallerMax) {
    return new TalosError('APPROVALS_FULL');
  }
  const approvalId = uuidv7({ ms: clock.now(), counter: 0 });
  const envelope = sealArguments(approvalId, call.input, await readKeys());
  if (JSON.stringify(envelope).length > bounds.approvalEnvelopeCharsMax) return new TalosError('PAYLOAD_TOO_LARGE');
  await store.keepArguments(approvalId, envelope);
  const { serverId, toolName, requestHash: hash, definitionHash } = call;
  const keyHash = call.reserves?.keyHash ?? sha256Hex(canonicalize(['mcp.approvals.key', approvalId]));
  const names = { principalId, teamId, serverId, toolName, definitionHash };
  await recorder.record(askDraft(call, { approvalId, askHash, keyHash, requestHash: hash, ...names, ttlSec }));
  telemetry.approvalChanged('asked');
  const approval = await store.find(approvalId);
  if (approval === undefined) throw new Error('An approval that was just asked for is not there.');
  return approval;
}

function askDraft({ caller, facts, by, serverId, toolName }: AllowedCall, approval: NewApproval) {
  return {
    surfaceId: 'mcp.approvals.ask',
    requestId: facts.requestId,
    principal: caller.principal,
    outcome: 'success' as const,
    http: surfaceHttp(by ?? 'mcp.tools.call', 202, facts),
    resource: { type: 'tool', id: recordName(`${serverId}/${toolName}`, bounds.recordNameCharsMax) },
    meta: {
      event_type: 'approval_requested',
      phase: 'note',
      approval_id: approval.approvalId,
      server_id: serverId,
      tool_name: recordName(toolName, bounds.recordNameCharsMax),
      request_hash: approval.requestHash,
      definition_hash: approval.definitionHash,
      ...rightMeta(caller),
    },
    companions: { approval: { kind: 'ask' as const, approval } },
  };
}

/** What the call comes to by how the approval stands now. */
async function passedBy(
  { callKeys }: ApprovalsOptions,
  { requestHash: bodyHash }: ApprovableCall,
  approval: ToolApproval,
): Promise<Passed> {
  const { approvalId, decision, isExpired, isKept, intentId = '', reason, keyHash } = approval;
  const permit = { approvalId };
  if (decision === 'denied') {
    const why = reason === undefined ? '' : ` ${reason}`;
    return stopped(refused('approval_denied', `Whoever was asked to approve this call denied it.${why}`), permit);
  }
  if (isExpired) {
    // What was called in time is still answered.
    const standing = isKept && (await callKeys.standing({ eventId: intentId, reservation: 'replayed' }));
    if (standing) return { ...standing, permit };
    return stopped(refused('approval_expired', 'Nobody used the approval of this call in time.'), permit);
  }
  if (decision === 'pending') return stopped(failed(pending(approval)), permit);
  return { permit: { approvalId, reserves: { keyHash, bodyHash, records: 1 } } };
}

function pending({ approvalId, expiresAt }: ToolApproval): TalosError {
  return new TalosError('APPROVAL_PENDING', {
    details: { approval_id: approvalId, expires_at: expiresAt.toISOString() },
    retryAfterSec: 1,
  });
}

function refused(detail: string, message: string): Outcome {
  return { kind: 'denied', denial: { ...deny('SCOPE_MISMATCH', detail), message } };
}
