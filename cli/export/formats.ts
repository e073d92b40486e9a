/** The forms of an export. Each turns records into lines, so that an export can be continued after any of them. */
import { encodeBase64 } from '../../src/core/base64.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { inclusionProof, type NodeReader, rangeEdges } from '../../src/core/merkle-proof.ts';
import { formatReceipt } from '../../src/core/receipt.ts';
import { cadfEvent } from './cadf.ts';
import { csvHeader, csvRow } from './csv.ts';
import { ocsfEvent } from './ocsf.ts';
import type { ExportedRecord } from './source.ts';

export type FormatName = 'range' | 'selection' | 'receipts' | 'csv' | 'ocsf' | 'cadf';

/** What all lines of one export refer to; it stays the same when the export is continued. */
export interface ExportFrame {
  readonly origin: string;
  /** The signed note and the size of its tree. */
  readonly checkpoint: string;
  readonly size: number;
  readonly firstSeq: number;
  readonly endSeq: number;
}

export interface Format {
  /** What the export begins with, with its line end; may be empty. */
  readonly header: () => Promise<string>;
  /** With its line end. */
  readonly line: (record: ExportedRecord) => string | Promise<string>;
}

export function formatOf(name: FormatName, frame: ExportFrame, nodes: NodeReader): Format {
  const none = async () => '';
  const prove = (index: number) => inclusionProof(index, frame.size, nodes);
  switch (name) {
    case 'range':
      return { header: () => rangeHeader(frame, nodes), line: (record) => jsonLine(record, undefined) };
    case 'selection':
      return {
        header: async () => headerLine({ checkpoint: frame.checkpoint }),
        line: async (record) => jsonLine(record, await prove(record.leafIndex)),
      };
    case 'receipts':
      return { header: none, line: async (record) => receiptLine(record, frame, await prove(record.leafIndex)) };
    case 'csv':
      return { header: async () => csvHeader, line: csvRow };
    case 'ocsf':
      return { header: none, line: (record) => `${JSON.stringify(ocsfEvent(record, frame.origin))}\n` };
    case 'cadf':
      return { header: none, line: (record) => `${JSON.stringify(cadfEvent(record, frame.origin))}\n` };
  }
}

function headerLine(members: { readonly checkpoint: string; readonly range?: object }): string {
  return `${canonicalize({ ...members, format: 'talos.export/v1' } as Parameters<typeof canonicalize>[0])}\n`;
}

/** With what stands left and right of the range, its records give the root of the checkpoint. */
async function rangeHeader({ checkpoint, size, firstSeq, endSeq }: ExportFrame, nodes: NodeReader): Promise<string> {
  const count = endSeq - firstSeq;
  const edges = rangeEdges(firstSeq, count, size);
  const [left, right] = [await nodes(edges.left), await nodes(edges.right)];
  const range = { first: firstSeq, count, left: left.map(encodeBase64), right: right.map(encodeBase64) };
  return headerLine({ checkpoint, range });
}

// The keys in canonical order.
function jsonLine({ leafIndex, canon, details }: ExportedRecord, proof: readonly Buffer[] | undefined): string {
  const members = [
    ...(details === undefined ? [] : [`"details":${details}`]),
    `"leaf_index":${leafIndex}`,
    ...(proof === undefined ? [] : [`"proof":${JSON.stringify(proof.map(encodeBase64))}`]),
    `"record":${canon}`,
  ];
  return `{${members.join(',')}}\n`;
}

function receiptLine(
  { leafIndex, canon, details }: ExportedRecord,
  { checkpoint, size }: ExportFrame,
  proof: readonly Buffer[],
): string {
  const receipt = formatReceipt({
    record: canon,
    eventHash: sha256Hex(canon),
    ...(details === undefined ? {} : { details }),
    leafIndex,
    treeSize: size,
    proof,
    checkpoint,
  });
  return `${receipt}\n`;
}
