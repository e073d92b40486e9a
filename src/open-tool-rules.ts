/** What rules over the tools of all servers: pins of their definitions, the policies of teams, and approvals by humans. */
import type { Recorder } from './audit/recorder.ts';
import { bounds } from './config/bounds.ts';
import type { Clock } from './core/clock.ts';
import { OneAtATime } from './core/one-at-a-time.ts';
import { type ApprovalWaiters, createApprovalWaiters } from './gateway/approval-waiters.ts';
import { seeInPassing, startToolPins, type ToolPins } from './gateway/tool-pins.ts';
import { startTeamPolicies, type TeamPolicies } from './policy/team-policies.ts';
import type { ChangeLock } from './storage/change-lock.ts';
import type { openReadPool } from './storage/db.ts';
import { createTeamPolicyStore } from './storage/team-policies.ts';
import { type ApprovalStore, createApprovalStore } from './storage/tool-approvals.ts';
import { createToolPinStore, type ToolPinStore } from './storage/tool-pins.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface OpenToolRulesOptions {
  readonly readPool: ReturnType<typeof openReadPool>;
  readonly recorder: Pick<Recorder, 'recordAll'>;
  readonly changeLock: ChangeLock;
  /** Throws `STORE_FULL` when the store takes nothing more. */
  readonly assertRoom: () => void;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface ToolRules {
  readonly pins: ToolPins;
  readonly pinStore: ToolPinStore;
  readonly policies: TeamPolicies;
  readonly approvalStore: ApprovalStore;
  readonly waiters: ApprovalWaiters;
  /** The lock of all changes, for one after the other of what this process writes by itself. */
  readonly ownLock: ChangeLock;
  /** Told of the tools of a server that was just connected to. */
  readonly onListed: ReturnType<typeof seeInPassing>;
  readonly close: () => Promise<void>;
}

/** Throws `STORE_UNAVAILABLE` when the rules cannot be read. */
export async function openToolRules(options: OpenToolRulesOptions): Promise<ToolRules> {
  const { readPool: pool, clock, telemetry } = options;
  const pinStore = createToolPinStore(pool);
  const ownLock = oneAtATime(options.changeLock);
  const pins = await startToolPins({ ...options, changeLock: ownLock, store: pinStore });
  const policies = await startTeamPolicies({
    store: createTeamPolicyStore(pool),
    pollMs: bounds.toolPoliciesPollMs,
    ageMsMax: bounds.toolPoliciesAgeMsMax,
    clock,
    log: telemetry.log,
  });
  const approvalStore = createApprovalStore(pool);
  const waiters = createApprovalWaiters(approvalStore, telemetry.log);
  return {
    ...{ pins, pinStore, policies, approvalStore, waiters, ownLock },
    onListed: seeInPassing(pins, telemetry.log),
    async close() {
      waiters.release();
      await policies.close();
      await pins.close();
    },
  };
}

/** Whoever waits for the lock holds a connection, so many at once would take them all. */
function oneAtATime(changeLock: ChangeLock): ChangeLock {
  const turns = new OneAtATime();
  return (work) => turns.run(() => changeLock(work));
}
