/**
 * Exports as CSV (RFC 4180): one row a record, columns that never change their place, and no cell that a spreadsheet
 * takes for a formula. Line ends inside a cell are written as they are, in quotes.
 */
import { canonicalize } from '../../src/core/canonical-json.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { scalarText, textAt, viewOf } from './record-view.ts';
import type { ExportedRecord } from './source.ts';

export const csvColumns = [
  'leaf_index',
  'event_id',
  'ts',
  'outcome',
  'surface_id',
  'http_method',
  'http_path',
  'http_status_code',
  'auth_mode',
  'principal_id',
  'team_id',
  'request_id',
  'resource_type',
  'resource_id',
  'event_type',
  'session_id',
  'correlation_id',
  'server_id',
  'tool_name',
  'denial_reason',
  'latency_ms',
  'event_hash',
  'meta',
  'details',
] as const;

export const csvHeader = `${csvColumns.join(',')}\r\n`;

const metaColumns = [
  'event_type',
  'session_id',
  'correlation_id',
  'server_id',
  'tool_name',
  'denial_reason',
  'latency_ms',
];

export function csvRow({ leafIndex, canon, record, details }: ExportedRecord): string {
  const { text, http, meta, principal, resource } = viewOf(record);
  const cells = [
    String(leafIndex),
    text('event_id'),
    text('ts'),
    text('outcome'),
    text('surface_id'),
    textAt(http, 'method'),
    textAt(http, 'path'),
    scalarText(http['status_code']),
    textAt(principal, 'auth_mode'),
    textAt(principal, 'principal_id'),
    textAt(principal, 'team_id'),
    text('request_id'),
    textAt(resource, 'resource_type'),
    textAt(resource, 'resource_id'),
    ...metaColumns.map((name) => scalarText(meta[name])),
    sha256Hex(canon),
    canonicalize(meta),
    details ?? '',
  ];
  return `${cells.map(csvCell).join(',')}\r\n`;
}

/** A cell as RFC 4180 writes it. What a spreadsheet would run as a formula gets an apostrophe before it. */
export function csvCell(text: string): string {
  const safe = /^[\s]*[=+\-@]|^[\t\r\n]/.test(text) && !/^-?\d+(?:\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
