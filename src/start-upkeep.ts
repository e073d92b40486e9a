/** What the log needs from time to time, whoever calls. */
import { randomUUID } from 'node:crypto';
import { startPruner } from './audit/pruner.ts';
import { startReconciler } from './audit/reconciler.ts';
import { startMaintenance } from './audit/retention.ts';
import { startSummaries } from './audit/summaries.ts';
import { bounds } from './config/bounds.ts';
import type { OnStop, OpenLog, OpenLogOptions } from './open-log.ts';
import { pruneCallResults } from './storage/call-results.ts';
import { pruneCapabilityUse } from './storage/capability-use.ts';
import { createChatSessionStore } from './storage/chat-sessions.ts';
import { createIntentStore } from './storage/intents.ts';
import { createMcpSessionStore } from './storage/mcp-sessions.ts';
import { createPartitionStore } from './storage/partitions.ts';
import { pruneReservations } from './storage/reservations.ts';
import { createRevocationStore } from './storage/revocations.ts';
import { pruneApprovalArguments, pruneApprovals } from './storage/tool-approvals.ts';
import { pruneToolDefinitions } from './storage/tool-pins.ts';
import { createConsentStore } from './storage/upstream-consents.ts';

export type Upkeep = ReturnType<typeof startUpkeep>;

export function startUpkeep({ config, clock, telemetry }: OpenLogOptions, log: OpenLog, onStop: OnStop) {
  const { database, readPool, tiles, recorder, writerId } = log;
  const maintenance = startMaintenance({
    partitions: createPartitionStore(readPool, database),
    nodes: tiles.nodes,
    record: recorder.record,
    requestId: randomUUID,
    retentionDays: config.auditRetentionDays,
    intervalMs: bounds.maintenanceIntervalMs,
    pruneIntervalMs: bounds.pruneIntervalMs,
    clock,
    telemetry,
  });
  onStop(() => maintenance.close());
  const summaries = startSummaries({ recorder, clock, bounds, log: telemetry.log });
  onStop(() => summaries.close());
  const reconciler = startReconciler({
    intents: createIntentStore(readPool),
    writerId,
    recorder,
    intervalMs: bounds.reconcileIntervalMs,
    silentMs: bounds.writerSilentMs,
    log: telemetry.log,
  });
  onStop(() => reconciler.close());
  const pruner = startPruner({
    prunes: {
      'idempotency keys': () => pruneReservations(readPool),
      'results of tool calls': () => pruneCallResults(readPool),
      'uses of capabilities': () => pruneCapabilityUse(readPool),
      'revocations of capabilities that are over': () => createRevocationStore(readPool).prune(),
      'sessions of the chat tool': () => createChatSessionStore(readPool).prune(),
      'MCP sessions': () => createMcpSessionStore(readPool).prune(),
      'authorization requests of users': () => createConsentStore(readPool).prune(),
      'arguments of calls to approve': () => pruneApprovalArguments(readPool),
      'approvals of calls': () => pruneApprovals(readPool),
      'definitions of tools': () => pruneToolDefinitions(readPool),
      'spent nonces and tickets': () => log.live.once.prune(),
    },
    intervalMs: bounds.forgetIntervalMs,
    log: telemetry.log,
  });
  onStop(() => pruner.close());
  return { summaries, reconciler };
}
