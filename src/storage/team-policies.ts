/** Policies of teams. They change with the record that tells of it, which counts their version up. */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { PolicyBook, PolicyChange, StoredPolicy, TeamPolicy } from '../core/team-policy.ts';
import { read } from './db.ts';
import { countUpSql, readVersion, versionSql } from './state-version.ts';
import { sqlText } from './unwritable.ts';

/** Both throw `STORE_UNAVAILABLE`. */
export interface TeamPolicyStore {
  readonly version: () => Promise<number>;
  /** Everything, as it was at one moment, ordered by team and id. */
  readonly load: () => Promise<PolicyBook>;
}

// One statement, so that all of it is of one moment.
const loadSql = `SELECT (${versionSql('team_policies')}) AS version,
  (SELECT coalesce(json_agg(p ORDER BY p.team_id COLLATE "C", p.policy_id COLLATE "C"), '[]') FROM team_policy p) AS policies`;

interface PolicyRow {
  readonly fields: string;
  readonly version: number;
  readonly created_at: string;
  readonly updated_at: string;
}

export function createTeamPolicyStore(pool: pg.Pool): TeamPolicyStore {
  return {
    version: () => readVersion(pool, 'team_policies'),
    async load() {
      const [row] = await read<{ version: string; policies: PolicyRow[] }>(pool, loadSql);
      if (row === undefined) throw new Error('The store gave no policies.');
      return { version: Number(row.version), policies: row.policies.map(policyOf) };
    },
  };
}

function policyOf({ fields, version, created_at, updated_at }: PolicyRow): StoredPolicy {
  const policy = JSON.parse(fields) as TeamPolicy;
  return { policy, version, createdAt: new Date(created_at), updatedAt: new Date(updated_at) };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changePolicies(events: readonly PreparedEvent[]): string {
  const changes = events.flatMap(({ companions }) => companions?.policies ?? []);
  if (changes.length === 0) return '';
  return `${changes.map(changeSql).join('')}${countUpSql('team_policies')};`;
}

// None of these statements may fail whatever the table holds: records of others commit with them.
function changeSql(change: PolicyChange): string {
  if (change.kind === 'delete') return `DELETE FROM team_policy WHERE policy_id = ${sqlText(change.policyId)};`;
  const { policy } = change;
  const [id, team, fields] = [policy.id, policy.team_id, JSON.stringify(policy)].map(sqlText);
  return `INSERT INTO team_policy AS p (policy_id, team_id, fields, version) VALUES (${id}, ${team}, ${fields}, 1)
    ON CONFLICT (policy_id) DO UPDATE SET team_id = excluded.team_id, fields = excluded.fields,
      version = p.version + 1, updated_at = now();`;
}
