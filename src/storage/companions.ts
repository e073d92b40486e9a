/** The rows that commit with a record, as SQL for the transaction that appends it: a record and its companions, or neither. */
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { changeApiKeys } from './api-keys.ts';
import { settleKeys } from './call-results.ts';
import { spend } from './capability-use.ts';
import { keepErasable } from './erasable.ts';
import { openIntents } from './intents.ts';
import { changeRoles } from './rbac.ts';
import { reserve } from './reservations.ts';
import { keepRevocations } from './revocations.ts';
import { changeSecrets } from './secrets.ts';
import { nameSpooled } from './spool.ts';
import { changePolicies } from './team-policies.ts';
import { changeApprovals } from './tool-approvals.ts';
import { changePins } from './tool-pins.ts';
import { changeToolServers } from './tool-servers.ts';
import { changeClients } from './upstream-clients.ts';
import { changeConnections } from './upstream-connections.ts';

/** Statements for all companions of a batch; empty when there are none. */
export function companionStatements(
  writerId: string,
  events: readonly PreparedEvent[],
  committed: readonly CommittedEvent[],
): string {
  const opened = committed.filter((_, index) => events[index]?.companions?.opensIntent === true);
  return (
    openIntents(writerId, opened) +
    reserve(events, committed) +
    settleKeys(events, committed) +
    spend(events) +
    keepErasable(events, committed) +
    keepRevocations(events, committed) +
    nameSpooled(events) +
    changeApiKeys(events) +
    changeRoles(events) +
    changeSecrets(events) +
    changeToolServers(events) +
    changeConnections(events) +
    changeClients(events) +
    changePins(events) +
    changePolicies(events) +
    changeApprovals(events, committed)
  );
}
