/**
 * The verifier of Talos logs: one module without dependencies, for Node 22 and later and for any current browser (in a
 * secure context, which Web Crypto demands). It trusts the keys that it is given and nothing else.
 */
export { Refusal } from './bytes.ts';
export { type Checkpoint, readCheckpoint } from './checkpoint.ts';
export { type EntriesReport, type EntryTile, type Reading, verifyEntries } from './entries.ts';
export { type ExportReport, verifyExport } from './export.ts';
export { linesOf } from './lines.ts';
export { type Decision, type MonitorReport, monitor, verifyConsistency } from './monitor.ts';
export { type ReceiptReport, verifyReceipt } from './receipt.ts';
export type { Check, Report } from './report.ts';
export { isConsistent, isIncluded, leafHash, nodeHash, TreeBuilder, type TreeHead } from './tree.ts';
export { type Trust, type TrustSource, trust } from './trust.ts';
