/**
 * Structured results against what their tools say of them. One that is not as promised passes all the same: its record
 * and a metric tell of it, and the log now and then.
 */
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { LruMap } from '../core/lru-map.ts';
import { recordName } from '../core/record-name.ts';
import type { CatalogTool, ResultFault } from '../mcp/tools/catalog-tool.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Outcome } from './call-outcome.ts';

export interface CheckedCall {
  readonly outcome: Outcome;
  readonly tool?: CatalogTool;
  /** What an earlier call came to was checked then. */
  readonly replayOf?: string;
}

/** What is wrong with the structured result of a call, if anything; tools that promise nothing are not looked at. */
export type CheckResult = (serverId: string, call: CheckedCall) => ResultFault | undefined;

export function createCheckResult({
  telemetry,
  clock,
}: {
  readonly telemetry: Pick<Telemetry, 'resultMismatched' | 'log'>;
  readonly clock: Pick<Clock, 'monotonic'>;
}): CheckResult {
  const saidAtMs = new LruMap<number>(bounds.resultFaultsSaidMax);

  function say(server: string, { definition, definitionHash }: CatalogTool, fault: ResultFault): void {
    const key = `${server}/${definitionHash}`;
    const nowMs = clock.monotonic();
    if (nowMs - (saidAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < bounds.resultFaultSaidIntervalMs) return;
    saidAtMs.set(key, nowMs);
    const tool = recordName(definition.name, bounds.recordNameCharsMax);
    telemetry.log.warn({ server, tool, fault }, 'the result of a tool is not as its output schema says');
  }

  return (serverId, { outcome, tool, replayOf }) => {
    if (tool?.resultFault === undefined || outcome.kind !== 'answered' || replayOf !== undefined) return undefined;
    const fault = tool.resultFault(outcome.output);
    if (fault === undefined) return undefined;
    telemetry.resultMismatched(serverId, fault);
    say(serverId, tool, fault);
    return fault;
  };
}
