/**
 * Asks one witness for its cosignature (C2SP tlog-witness). What it answers counts only when its key signed it; what it
 * merely says, that it has seen more or something else, is handed on as its word.
 */
import { bounds } from '../config/bounds.ts';
import { cosignedAtSec } from '../core/cosignature.ts';
import { describeError } from '../core/errors.ts';
import { consistencyProof, type NodeReader } from '../core/merkle-proof.ts';
import { type NoteSignature, openNote, parseNote } from '../core/note.ts';
import type { NoteVerifier } from '../core/note-key.ts';
import type { StoredCheckpoint } from '../storage/checkpoints.ts';
import { addCheckpointPath, formatAddCheckpoint, parseTreeSize, sizeType } from './witness-request.ts';

export type WitnessReply =
  | { readonly kind: 'cosigned'; readonly signature: NoteSignature }
  /** It says that it has cosigned a checkpoint of this size, larger than ours. */
  | { readonly kind: 'ahead'; readonly size: number }
  /** It says that our log is not the one it has cosigned. */
  | { readonly kind: 'disputed' }
  | { readonly kind: 'failed'; readonly reason: string };

export interface WitnessClientOptions {
  readonly verifier: NoteVerifier;
  /** The submission prefix. */
  readonly url: string;
  readonly nodes: NodeReader;
  readonly fetch: typeof fetch;
  readonly nowSec: () => number;
}

export interface WitnessClient {
  readonly name: string;
  /** Never rejects because of the witness; only when the proof cannot be read. */
  readonly cosign: (checkpoint: StoredCheckpoint, signal: AbortSignal) => Promise<WitnessReply>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

export function createWitnessClient(options: WitnessClientOptions): WitnessClient {
  const { verifier, nodes } = options;
  // What the witness has, as far as we know.
  let seen = 0;

  async function cosign(checkpoint: StoredCheckpoint, signal: AbortSignal): Promise<WitnessReply> {
    for (let sent = 0; sent < bounds.witnessResendsMax; sent++) {
      const oldSize = Math.min(seen, checkpoint.size);
      const proof = oldSize === 0 ? [] : await consistencyProof(oldSize, checkpoint.size, nodes);
      const body = formatAddCheckpoint({ oldSize, proof, note: checkpoint.note });
      const answer = await post(options, body, signal);
      if (typeof answer === 'string') return { kind: 'failed', reason: answer };
      if (answer.status !== 409) return judge(answer, checkpoint);
      const size = answer.type.startsWith(sizeType) ? parseTreeSize(answer.body.replace(/\n$/, '')) : undefined;
      if (size === undefined) return { kind: 'failed', reason: 'it answered 409 without a size' };
      seen = size;
      if (size > checkpoint.size) return { kind: 'ahead', size };
      // It has just this size, and refuses the root.
      if (size === oldSize) return { kind: 'disputed' };
    }
    return { kind: 'failed', reason: 'it named another size each time' };
  }

  function judge({ status, body }: Answer, checkpoint: StoredCheckpoint): WitnessReply {
    if (status === 422) return { kind: 'disputed' };
    if (status !== 200) return { kind: 'failed', reason: `it answered ${status}` };
    const signature = cosignatureIn(body, checkpoint.note, verifier, options.nowSec());
    if (signature === undefined) return { kind: 'failed', reason: 'it answered without a cosignature of its key' };
    seen = checkpoint.size;
    return { kind: 'cosigned', signature };
  }

  return { name: verifier.name, cosign };
}

/** The witness's signature among the lines of its answer, when it is right. */
function cosignatureIn(lines: string, note: string, verifier: NoteVerifier, nowSec: number): NoteSignature | undefined {
  try {
    const [signature] = openNote(`${parseNote(note).text}\n${lines}`, [verifier]).verified;
    const timeSec = signature === undefined ? undefined : cosignedAtSec(signature.bytes);
    // One from the future would still look fresh when the witness has long been silent.
    if (timeSec === undefined || timeSec === 0 || timeSec > nowSec + bounds.clockSkewSec) return undefined;
    return signature;
  } catch {
    return undefined;
  }
}

/** The answer, or why there is none. */
async function post({ url, fetch }: WitnessClientOptions, body: string, signal: AbortSignal): Promise<Answer | string> {
  try {
    const response = await fetch(`${url.replace(/\/$/, '')}${addCheckpointPath}`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body,
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(bounds.witnessTimeoutMs)]),
    });
    const type = response.headers.get('content-type') ?? '';
    return { status: response.status, type, body: await readBounded(response) };
  } catch (error) {
    return describeError(error);
  }
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > bounds.witnessAnswerBytesMax) throw new Error('it answered more than a witness has to say');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
