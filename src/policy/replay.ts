/**
 * Recorded calls, judged again under other capabilities and other trust: what would be refused that was allowed, and the
 * other way round. Records hold hashes of arguments and not the arguments, so a condition on arguments cannot be judged.
 */
import { checkValidityNow } from '../core/capability.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { anonymous } from '../core/principal.ts';
import type { KnownToolOf } from '../core/tool-class.ts';
import type { Authority } from './authority.ts';
import { constraintDenial, type ToolFacts } from './constraints.ts';
import { decideByName } from './decide.ts';

/** What a record says of a call. */
export interface RecordedCall {
  readonly timeSec: number;
  readonly principalId: string;
  readonly serverId: string;
  readonly toolName: string;
  readonly wasAllowed: boolean;
  /** Of the capability that it was made with. */
  readonly capabilityHash: string | undefined;
  readonly schemaHash: string | undefined;
  readonly definitionHash: string | undefined;
}

/** `unknown`: no token is given for the call, or its arguments decide. */
export type Verdict =
  | { readonly kind: 'allow' }
  | { readonly kind: 'deny'; readonly reason: string; readonly detail: string | undefined }
  | { readonly kind: 'unknown'; readonly because: 'no_token' | 'arguments' };

/** The call of a record; undefined when the record is of something else, or only says that a call was about to be made. */
export function recordedCall(record: JsonObject): RecordedCall | undefined {
  const { surface_id, outcome, meta, principal, ts } = record;
  if (surface_id !== 'mcp.tools.call' || !isJsonObject(meta) || !isJsonObject(principal)) return undefined;
  if (meta['phase'] === 'intent' || meta['phase'] === 'late') return undefined;
  return {
    timeSec: Math.floor(Date.parse(String(ts)) / 1000),
    principalId: String(principal['principal_id']),
    serverId: String(meta['server_id']),
    toolName: String(meta['tool_name']),
    wasAllowed: outcome !== 'denied',
    capabilityHash: text(meta['capability_hash']),
    schemaHash: text(meta['schema_hash']),
    definitionHash: text(meta['definition_hash']),
  };
}

/**
 * The verdict on a call: by the token that it was made with when that is among `authorities`, else by those that are for
 * the same subject, any of which may allow it.
 */
export function judgeAgain(
  call: RecordedCall,
  authorities: readonly Authority[],
  knownTool: KnownToolOf,
  skewSec: number,
): Verdict {
  const same = authorities.filter(({ capability }) => capability.hash === call.capabilityHash);
  const others = authorities.filter(({ capability }) => capability.subject === call.principalId);
  const verdicts = (same.length > 0 ? same : others).map((one) => judgeBy(one, call, knownTool, skewSec));
  const unlike = (kind: Verdict['kind']) => verdicts.find((verdict) => verdict.kind === kind);
  return unlike('allow') ?? unlike('unknown') ?? verdicts[0] ?? { kind: 'unknown', because: 'no_token' };
}

function judgeBy(authority: Authority, call: RecordedCall, knownTool: KnownToolOf, skewSec: number): Verdict {
  const untimely = checkValidityNow(authority.capability, call.timeSec, skewSec);
  if (untimely !== undefined) return { kind: 'deny', reason: untimely.reason, detail: untimely.detail };
  const request = { server: call.serverId, method: call.toolName };
  const byName = decideByName(request, { principal: anonymous, authority }, strict);
  if (!byName.allow) return { kind: 'deny', reason: byName.denial.reason, detail: byName.denial.detail };
  const detail = definitionFault(authority, toolOf(call, knownTool));
  if (detail !== undefined) return { kind: 'deny', reason: constraintDenial(detail).reason, detail };
  return needsArguments(authority) ? { kind: 'unknown', because: 'arguments' } : { kind: 'allow' };
}

const strict = { development: false, requireCapability: true };
const onArguments: ReadonlySet<string> = new Set(['paths', 'input_schema']);

function definitionFault({ links }: Authority, tool: ToolFacts): string | undefined {
  for (const { name, compiled } of links.flatMap(({ constraints }) => constraints)) {
    const detail = onArguments.has(name) ? undefined : compiled.byCall?.(tool, {});
    if (detail !== undefined) return detail;
  }
  return undefined;
}

function needsArguments({ links }: Authority): boolean {
  return links.some(({ constraints }) => constraints.some(({ name }) => onArguments.has(name)));
}

function toolOf({ serverId, toolName, schemaHash, definitionHash }: RecordedCall, knownTool: KnownToolOf): ToolFacts {
  return {
    ...knownTool(serverId, toolName),
    ...(schemaHash === undefined ? {} : { schemaHash }),
    ...(definitionHash === undefined ? {} : { definitionHash }),
  };
}

function text(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
