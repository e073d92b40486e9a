/**
 * Approvals of calls. They change with the record that tells of it; the arguments of a call, sealed, are put beside the log
 * before. That a call is made once is not known from here, but from the key that it is reserved under.
 */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import type { Envelope } from '../core/envelope.ts';
import type { ApprovalChange, ApprovalState, NewApproval, ToolApproval } from '../core/tool-approval.ts';
import { isUuidv7 } from '../core/uuidv7.ts';
import type { VisibleTeams } from '../core/visible-teams.ts';
import { read } from './db.ts';
import { projectedKey } from './projected-key.ts';
import { pruneRows } from './prune.ts';
import { sqlText, UnwritableError } from './unwritable.ts';

export interface ApprovalFilter {
  readonly teams: VisibleTeams;
  readonly state?: ApprovalState;
  readonly limit: number;
}

/** All throw `STORE_UNAVAILABLE`. */
export interface ApprovalStore {
  readonly find: (approvalId: string) => Promise<ToolApproval | undefined>;
  /** The newest that stands for this asking: not expired, or kept; and not used unless `includesUsed`. */
  readonly findAsked: (askHash: string, includesUsed: boolean) => Promise<ToolApproval | undefined>;
  /** Those of these that nobody waits for any longer: decided or expired. */
  readonly settled: (approvalIds: readonly string[]) => Promise<readonly string[]>;
  /** Newest first. */
  readonly list: (filter: ApprovalFilter) => Promise<readonly ToolApproval[]>;
  /** How many of one caller's are open. */
  readonly countOpen: (principalId: string, teamId: string) => Promise<number>;
  readonly keepArguments: (approvalId: string, envelope: Envelope) => Promise<void>;
  readonly arguments: (approvalId: string) => Promise<Envelope | undefined>;
}

// Of the call that was made under it: it is at work, or what it came to is kept. Nothing came of one whose key was freed.
const isKept = `(EXISTS (SELECT FROM log_intent i WHERE i.intent_id = tool_approval.intent_id)
  OR EXISTS (SELECT FROM call_result r WHERE r.intent_id = tool_approval.intent_id AND r.outcome IS DISTINCT FROM 'freed'))`;

const columns = `approval_id, encode(ask_hash, 'hex') AS ask_hash, encode(key_hash, 'hex') AS key_hash,
  encode(request_hash, 'hex') AS request_hash, principal_id, team_id, server_id, tool_name, definition_hash, state,
  expires_at <= now() AS is_expired, requested_at, expires_at, decided_by, decided_at, reason, intent_id, ${isKept} AS is_kept`;

interface Row {
  readonly approval_id: string;
  readonly ask_hash: string;
  readonly key_hash: string;
  readonly request_hash: string;
  readonly principal_id: string;
  readonly team_id: string;
  readonly server_id: string;
  readonly tool_name: string;
  readonly definition_hash: string;
  readonly state: ToolApproval['decision'];
  readonly is_expired: boolean;
  readonly requested_at: Date;
  readonly expires_at: Date;
  readonly decided_by: string | null;
  readonly decided_at: Date | null;
  readonly reason: string | null;
  readonly intent_id: string | null;
  readonly is_kept: boolean;
}

const isInState: Readonly<Record<ApprovalState, string>> = {
  pending: "state = 'pending' AND intent_id IS NULL AND expires_at > now()",
  approved: "state = 'approved' AND intent_id IS NULL AND expires_at > now()",
  denied: "state = 'denied'",
  used: "state <> 'denied' AND intent_id IS NOT NULL",
  expired: "state <> 'denied' AND intent_id IS NULL AND expires_at <= now()",
};

export function createApprovalStore(pool: pg.Pool): ApprovalStore {
  const select = async (condition: string, values: readonly unknown[]) =>
    (await read<Row>(pool, `SELECT ${columns} FROM tool_approval WHERE ${condition}`, values)).map(approvalOf);
  return {
    async find(approvalId) {
      if (!isUuidv7(approvalId)) return undefined;
      return (await select('approval_id = $1', [approvalId]))[0];
    },
    async findAsked(askHash, includesUsed) {
      const stands = includesUsed ? `(expires_at > now() OR ${isKept})` : 'expires_at > now() AND intent_id IS NULL';
      const condition = `ask_hash = $1 AND ${stands} ORDER BY requested_at DESC LIMIT 1`;
      return (await select(condition, [Buffer.from(askHash, 'hex')]))[0];
    },
    async settled(approvalIds) {
      const rows = await read<{ approval_id: string }>(
        pool,
        "SELECT approval_id FROM tool_approval WHERE approval_id = ANY ($1::uuid[]) AND (state <> 'pending' OR expires_at <= now())",
        [approvalIds],
      );
      return rows.map(({ approval_id }) => approval_id);
    },
    async list({ teams, state, limit }) {
      const inState = state === undefined ? 'true' : isInState[state];
      const ofTeam = teams === 'all' ? '$1::text[] IS NULL' : 'team_id = ANY ($1)';
      const values = [teams === 'all' ? null : teams.map(projectedKey), limit];
      return await select(`${inState} AND ${ofTeam} ORDER BY requested_at DESC, approval_id LIMIT $2`, values);
    },
    async countOpen(principalId, teamId) {
      const [row] = await read<{ count: string }>(
        pool,
        `SELECT count(*) AS count FROM tool_approval WHERE principal_id = $1 AND team_id = $2 AND ${isInState.pending}`,
        [projectedKey(principalId), projectedKey(teamId)],
      );
      return Number(row?.count);
    },
    async keepArguments(approvalId, envelope) {
      await read(pool, 'INSERT INTO tool_approval_arguments (approval_id, envelope) VALUES ($1, $2)', [
        approvalId,
        JSON.stringify(envelope),
      ]);
    },
    async arguments(approvalId) {
      const [row] = await read<{ envelope: Envelope }>(
        pool,
        'SELECT envelope FROM tool_approval_arguments WHERE approval_id = $1',
        [approvalId],
      );
      return row?.envelope;
    },
  };
}

/** Whether the approval says so of itself: names are stored as far as columns can hold them. */
export function isOf(
  approval: ToolApproval,
  named: Partial<Pick<ToolApproval, 'principalId' | 'teamId' | 'serverId' | 'toolName'>>,
): boolean {
  const keys = Object.keys(named) as (keyof typeof named)[];
  return keys.every((key) => approval[key] === projectedKey(named[key] ?? ''));
}

function approvalOf(row: Row): ToolApproval {
  return {
    approvalId: row.approval_id,
    askHash: row.ask_hash,
    keyHash: row.key_hash,
    requestHash: row.request_hash,
    principalId: row.principal_id,
    teamId: row.team_id,
    serverId: row.server_id,
    toolName: row.tool_name,
    definitionHash: row.definition_hash,
    decision: row.state,
    isExpired: row.is_expired,
    isKept: row.is_kept,
    requestedAt: row.requested_at,
    expiresAt: row.expires_at,
    ...(row.decided_by === null ? {} : { decidedBy: row.decided_by }),
    ...(row.decided_at === null ? {} : { decidedAt: row.decided_at }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.intent_id === null ? {} : { intentId: row.intent_id }),
  };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changeApprovals(events: readonly PreparedEvent[], committed: readonly CommittedEvent[]): string {
  return events
    .map(({ companions }, index) => {
      const change = companions?.approval;
      return change === undefined ? '' : changeSql(change, (committed[index] as CommittedEvent).eventId);
    })
    .join('');
}

// None of these statements may fail whatever the table holds: records of others commit with them.
function changeSql(change: ApprovalChange, eventId: string): string {
  if (change.kind === 'ask') return askSql(change.approval);
  const isIt = `approval_id = ${uuid(change.approvalId)}`;
  if (change.kind === 'use') return `UPDATE tool_approval SET intent_id = '${eventId}' WHERE ${isIt};`;
  const { kind, decidedBy, reason } = change;
  return `UPDATE tool_approval SET state = '${kind === 'approve' ? 'approved' : 'denied'}', decided_at = now(),
    decided_by = ${text(decidedBy)}, reason = ${reason === undefined ? 'NULL' : sqlText(reason.replaceAll('\0', ' '))}
    WHERE ${isIt} AND state = 'pending';`;
}

function askSql(approval: NewApproval): string {
  const { approvalId, askHash, keyHash, requestHash, principalId, teamId, serverId, toolName, ttlSec } = approval;
  const hashes = [askHash, keyHash, requestHash].map(bytea).join(', ');
  const names = [principalId, teamId, serverId, toolName, approval.definitionHash].map(text).join(', ');
  return `INSERT INTO tool_approval (approval_id, ask_hash, key_hash, request_hash, principal_id, team_id, server_id,
      tool_name, definition_hash, expires_at)
    VALUES (${uuid(approvalId)}, ${hashes}, ${names}, now() + make_interval(secs => ${Math.trunc(ttlSec)}))
    ON CONFLICT DO NOTHING;`;
}

function uuid(id: string): string {
  // It becomes part of a statement.
  if (!isUuidv7(id)) throw new UnwritableError('An approval is named by a UUIDv7.');
  return `'${id}'`;
}

function bytea(hash: string): string {
  if (!/^[0-9a-f]{64}$/.test(hash)) throw new UnwritableError('A call to approve is named by SHA-256.');
  return `'\\x${hash}'`;
}

function text(value: string): string {
  return sqlText(projectedKey(value));
}

/** Forgets arguments that nobody has to judge any more. Resolves with how many. */
export async function pruneApprovalArguments(pool: pg.Pool): Promise<number> {
  const isOver = 'kept_at <= now() - make_interval(secs => $1)';
  return await pruneRows(pool, { table: 'tool_approval_arguments', key: 'approval_id', isOver }, [
    bounds.approvalTtlSecMax,
  ]);
}

/** Forgets approvals that no call can ask for any more. Resolves with how many. */
export async function pruneApprovals(pool: pg.Pool): Promise<number> {
  const isOver = 'requested_at <= now() - make_interval(secs => $1)';
  return await pruneRows(pool, { table: 'tool_approval', key: 'approval_id', isOver }, [bounds.approvalKeptSec]);
}
