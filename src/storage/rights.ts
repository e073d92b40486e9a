/**
 * Who may do what in the database besides its owner: the writer is the gateway, the reader looks. Every table has an entry,
 * so that nobody gets a right that was not given here; a table without one would be closed to both.
 */

type Right = 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE' | `UPDATE (${string})`;

export interface TableRights {
  readonly writer: readonly Right[];
  readonly reader: readonly Right[];
}

const reads: readonly Right[] = ['SELECT'];

/** What is written once and never changes. */
const appended: TableRights = { writer: ['SELECT', 'INSERT'], reader: reads };
/** What belongs to the gateway's work and proves nothing. */
const kept: TableRights = { writer: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'], reader: reads };
/** The same, and nothing that who reads the log needs: hashes of keys, sealed values, sessions. */
const secret: TableRights = { writer: kept.writer, reader: [] };
/** What the owner alone changes. */
const fixed: TableRights = { writer: reads, reader: reads };

/** By table; partitions are reached through the table that they are of. */
export const tableRights: Readonly<Record<string, TableRights>> = {
  schema_migration: fixed,
  audit_event: appended,
  // Whoever locks the row must be able to update some column; this one can hold but the one value that it has.
  log_head: { writer: ['SELECT', 'UPDATE (log_id)'], reader: reads },
  log_writer: kept,
  log_partition: fixed,
  log_intent: kept,
  log_tile: appended,
  log_signer: appended,
  log_checkpoint: fixed,
  log_rollup: { writer: ['SELECT', 'INSERT', 'UPDATE'], reader: reads },
  log_idempotency: kept,
  call_result: secret,
  log_erasable: appended,
  log_spool: kept,
  log_forward: { writer: ['SELECT', 'INSERT', 'UPDATE'], reader: reads },
  log_forward_rejected: kept,
  state_version: { writer: ['SELECT', 'UPDATE'], reader: reads },
  rbac_role: kept,
  rbac_binding: kept,
  secret,
  secret_rotation: kept,
  api_key: secret,
  api_key_version: secret,
  capability_revocation: appended,
  capability_use: kept,
  stream_once: secret,
  chat_session: secret,
  mcp_session: secret,
  gateway_key: { writer: ['SELECT', 'INSERT'], reader: [] },
  tool_server: kept,
  upstream_connection: secret,
  upstream_consent: secret,
  upstream_client: secret,
  tool_pin: kept,
  tool_definition: kept,
  team_policy: kept,
  tool_approval: kept,
  tool_approval_arguments: secret,
};

/** By function, arguments included: whether the writer may call it. Nobody else may; triggers are called by nobody. */
export const functionRights: Readonly<Record<string, boolean>> = {
  'capability_forget_revoked()': true,
  'log_cosign(bigint, bytea, text)': true,
  'log_extend(bigint)': true,
  'log_extend_to(bigint)': false,
  'log_keep_checkpoint(bigint, bytea, text)': true,
  'log_name(text)': true,
};
