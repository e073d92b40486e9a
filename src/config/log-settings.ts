/** The settings of the audit log: its keys, witnesses and anchors, what happens when it fails, how long it is kept. */
import { bounds } from './bounds.ts';
import {
  parseCommand,
  parseErasable,
  parseHttpUrl,
  parseInteger,
  parseList,
  parseLogName,
  parsePath,
  parseSize,
  parseWitness,
  parseWord,
} from './parse.ts';
import { setting } from './setting.ts';

/** What becomes of reported events when the log cannot be written. Everything else that needs a record is refused. */
export type AuditOnFailure = 'fail_operation' | 'spool' | 'continue';

export const logSettings = {
  logKeyFile: setting<string | undefined>({
    env: ['TALOS_LOG_KEY_FILE'],
    file: ['log_key_file'],
    parse: parsePath,
    default: undefined,
    defaultText: '`log.key` in the data folder, made at the first start',
    meaning:
      'File with the key that signs checkpoints of the log. All gateways on one database need the same; keep a copy elsewhere.',
  }),
  logOrigin: setting<string | undefined>({
    env: ['TALOS_LOG_ORIGIN'],
    file: ['log_origin'],
    parse: parseLogName,
    default: undefined,
    defaultText: 'a random name',
    meaning:
      'Name of the log in its checkpoints, such as `gateway.example.com/audit`. It is set once, by the first start.',
  }),
  logKeyCommand: setting<readonly string[] | undefined>({
    env: ['TALOS_LOG_KEY_COMMAND'],
    file: ['log_key_command'],
    parse: parseCommand,
    default: undefined,
    meaning:
      'Program that prints that key, for keys that live in a key service: a list of the program and its arguments, as JSON in the environment. It is run at the start, without a shell; in place of a key file.',
  }),
  logWitnesses: setting<readonly string[]>({
    env: ['TALOS_LOG_WITNESSES'],
    file: ['log_witnesses'],
    parse: parseList(parseWitness),
    default: [],
    meaning:
      'Witnesses that are asked to cosign each checkpoint (C2SP tlog-witness): `<verifier key> <address>`, the address being that in front of `/add-checkpoint`.',
  }),
  logWitnessQuorum: setting<number | undefined>({
    env: ['TALOS_LOG_WITNESS_QUORUM'],
    file: ['log_witness_quorum'],
    parse: parseInteger(1, bounds.witnessesMax, 'a number of witnesses'),
    default: undefined,
    defaultText: 'more than half of them',
    meaning:
      'How many witnesses are enough. A checkpoint with fewer is published with a warning; as many that have cosigned another history stop the gateway.',
  }),
  logAnchorFiles: setting<readonly string[]>({
    env: ['TALOS_LOG_ANCHOR_FILES'],
    file: ['log_anchor_files'],
    parse: parseList(parsePath),
    default: [],
    meaning:
      'Files, best on another volume, that checkpoints are appended to. At the start the database must continue the newest one.',
  }),
  logAnchorUrls: setting<readonly string[]>({
    env: ['TALOS_LOG_ANCHOR_URLS'],
    file: ['log_anchor_urls'],
    parse: parseList(parseHttpUrl),
    default: [],
    meaning: 'Addresses that checkpoints are sent to by POST, as plain text.',
  }),
  logAnchorIntervalSec: setting<number>({
    env: ['TALOS_LOG_ANCHOR_INTERVAL_SECONDS'],
    file: ['log_anchor_interval_seconds'],
    parse: parseInteger(0, bounds.anchorIntervalSecMax, 'a number of seconds'),
    default: bounds.anchorIntervalSecDefault,
    meaning: 'At most one checkpoint in this time is anchored; with 0 each is.',
  }),
  auditOnFailure: setting<AuditOnFailure>({
    env: ['TALOS_AUDIT_ON_FAILURE'],
    file: ['audit_on_failure'],
    parse: parseWord<AuditOnFailure>({ fail_operation: 'fail_operation', spool: 'spool', continue: 'continue' }),
    default: 'fail_operation',
    meaning:
      'What becomes of events that clients report while the log cannot be written: `fail_operation` refuses them, `spool` keeps them on disk and records them later, `continue` answers without a record and counts them. Tool calls and all else are refused in any case.',
  }),
  auditSpoolDir: setting<string | undefined>({
    env: ['TALOS_AUDIT_SPOOL_DIR'],
    file: ['audit_spool_dir'],
    parse: parsePath,
    default: undefined,
    defaultText: '`spool` in the data folder',
    meaning:
      'Folder for what the policies `spool` and `continue` keep, best on another volume than the store. Each gateway needs one of its own.',
  }),
  auditSpoolSize: setting<number>({
    env: ['TALOS_AUDIT_SPOOL_SIZE'],
    file: ['audit_spool_size'],
    parse: parseSize(bounds.spoolBytesMin),
    default: bounds.spoolBytesDefault,
    defaultText: '`256MiB`',
    meaning: 'How much the spool may hold; when it is full, events are refused.',
  }),
  auditUrl: setting<string | undefined>({
    env: ['TALOS_AUDIT_URL', 'AUDIT_SINK_URL'],
    file: ['audit_url'],
    parse: parseHttpUrl,
    default: undefined,
    meaning:
      'External audit service that all records are also delivered to, in order and at least once, by `POST …/api/events/ingest`. No answer waits for it.',
  }),
  storeSizeWarn: setting<number | undefined>({
    env: ['TALOS_STORE_SIZE_WARN'],
    file: ['store_size_warn'],
    parse: parseSize(1),
    default: undefined,
    meaning: 'Size of the database, such as `80GB`, from which on the gateway warns.',
  }),
  storeSizeStop: setting<number | undefined>({
    env: ['TALOS_STORE_SIZE_STOP'],
    file: ['store_size_stop'],
    parse: parseSize(1),
    default: undefined,
    defaultText: 'none; the embedded store keeps 512 MiB of its volume free',
    meaning: 'Size of the database from which on nothing that needs a record is accepted; reads go on.',
  }),
  auditRetentionDays: setting<number | undefined>({
    env: ['TALOS_AUDIT_RETENTION_DAYS'],
    file: ['audit_retention_days', 'audit.retention_days'],
    parse: parseInteger(1, bounds.retentionDaysMax, 'a number of days'),
    default: undefined,
    defaultText: 'for ever',
    meaning:
      'How long records are kept. Older ones are dropped, some thousands at a time, and the log says so; proofs of them still verify. Needs a database user that owns the tables.',
  }),
  auditErasable: setting<readonly string[]>({
    env: ['TALOS_AUDIT_ERASABLE'],
    file: ['audit_erasable'],
    parse: parseList(parseErasable),
    default: [],
    meaning:
      'Keys of the metadata of submitted events whose values can be erased: records hold a salted hash of them, and the value is kept beside.',
  }),
};
