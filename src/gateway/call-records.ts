/** What the records of a tool call say: that it is about to be made, and what became of it. Never what it was made with. */
import { bounds } from '../config/bounds.ts';
import type { Companions, EventDraft, Reservation, Spend } from '../core/audit-event.ts';
import { recordName } from '../core/record-name.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { CatalogTool } from '../mcp/registry.ts';
import type { ResultFault } from '../mcp/tools/catalog-tool.ts';
import { settlementOf } from './call-keys.ts';
import { isOpen, type Outcome, outcomeMeta, recordOutcomes, statusOf } from './call-outcome.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { rightMeta } from './right-meta.ts';

export interface RecordedCall {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly toolName: string;
  readonly requestHash: string;
  readonly sessionId?: string;
  readonly approvalId?: string;
  /** Of its idempotency key. */
  readonly reserves?: Reservation;
  /** Where the call came in; absent for the REST route. */
  readonly by?: 'mcp.native' | 'mcp.native.all';
}

export interface EndedCall {
  readonly outcome: Outcome;
  readonly tool?: CatalogTool;
  /** The record that says that the tool was about to be called. */
  readonly intentId?: string;
  /** The record of the outcome of an earlier call, of which this one has the answer. */
  readonly replayOf?: string;
  /** What is wrong with its structured result. */
  readonly resultFault?: ResultFault | undefined;
}

/** That the tool is about to be called; the record takes what the call reserves, spends and uses up. */
export function intentDraft(call: RecordedCall, tool: CatalogTool, spends: readonly Spend[]): EventDraft {
  const { reserves, approvalId } = call;
  return {
    ...callDraft(call),
    outcome: 'success',
    http: callHttp(call, 100),
    meta: { ...callMeta(call, tool), phase: 'intent' },
    companions: {
      opensIntent: true,
      ...(spends.length === 0 ? {} : { spends }),
      ...(reserves === undefined ? {} : { reserves }),
      ...(approvalId === undefined ? {} : { approval: { kind: 'use', approvalId } }),
    },
  };
}

/** Of what became of the call. */
export function outcomeDraft(call: RecordedCall, ended: EndedCall, timingMs: number): EventDraft {
  const { outcome, tool, intentId, replayOf, resultFault } = ended;
  return {
    ...callDraft(call),
    outcome: recordOutcomes[outcome.kind],
    http: callHttp(call, statusOf(outcome)),
    meta: {
      ...callMeta(call, tool),
      ...(isOpen(outcome) ? { phase: 'note' } : {}),
      ...(intentId === undefined ? {} : { phase: 'outcome', intent_id: intentId }),
      replay_of: replayOf,
      latency_ms: timingMs,
      result_schema: resultFault,
      ...outcomeMeta(outcome, call.caller),
    },
    ...(intentId === undefined
      ? {}
      : { companions: { closesIntent: intentId, ...settlement(call, intentId, outcome) } }),
  };
}

function settlement({ reserves }: RecordedCall, intentId: string, outcome: Outcome): Pick<Companions, 'settlesKey'> {
  return reserves === undefined ? {} : { settlesKey: settlementOf(intentId, outcome) };
}

/** What every record of a call has in common. */
function callDraft(call: RecordedCall): Pick<EventDraft, 'surfaceId' | 'requestId' | 'principal' | 'resource'> {
  return {
    surfaceId: 'mcp.tools.call',
    requestId: call.facts.requestId,
    principal: call.caller.principal,
    resource: { type: 'tool', id: recordName(`${call.serverId}/${call.toolName}`, bounds.recordNameCharsMax) },
  };
}

function callHttp(call: RecordedCall, statusCode: number): EventDraft['http'] {
  return surfaceHttp(call.by ?? 'mcp.tools.call', statusCode, call.facts);
}

function callMeta(call: RecordedCall, tool: CatalogTool | undefined): EventDraft['meta'] {
  return {
    event_type: 'mcp_tool_call',
    server_id: call.serverId,
    tool_name: recordName(call.toolName, bounds.recordNameCharsMax),
    request_hash: call.requestHash,
    idempotency_key_hash: call.reserves?.keyHash,
    schema_hash: tool?.schemaHash,
    definition_hash: tool?.definitionHash,
    approval_id: call.approvalId,
    session_id: call.sessionId,
    ...rightMeta(call.caller),
  };
}
