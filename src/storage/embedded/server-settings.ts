/** The settings of the embedded server, given on its command line so that nothing in the data folder can outvote them. */
import { bounds } from '../../config/bounds.ts';

export const serverPort = 5432;

/** Crash-safe, private to one socket folder, and small. */
const fixed = {
  // A commit that was answered survives a power cut.
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  listen_addresses: '',
  port: String(serverPort),
  unix_socket_permissions: '0700',
  shared_buffers: `${bounds.embeddedSharedBuffersMb}MB`,
  // There is no replica and no second reader of the write-ahead log.
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_logical_replication_workers: '0',
  io_method: 'sync',
  huge_pages: 'off',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  cluster_name: 'talos',
  // The server's log must never carry a value of a statement; the clients get the errors of their statements anyway.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_checkpoints: 'off',
  log_line_prefix: '',
  logging_collector: 'off',
} as const;

export interface ServerPlace {
  readonly dataFolder: string;
  readonly socketFolder: string;
  readonly connectionsMax: number;
}

export function serverArguments({ dataFolder, socketFolder, connectionsMax }: ServerPlace): string[] {
  const settings = { ...fixed, unix_socket_directories: socketFolder, max_connections: String(connectionsMax) };
  return ['-D', dataFolder, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}
