/**
 * A witness (C2SP tlog-witness): it cosigns a checkpoint only when the log proves that it continues the last one that
 * this witness cosigned. So a log cannot show two histories to people who ask for this cosignature.
 */
import type { KeyObject } from 'node:crypto';
import { parseCheckpoint } from '../core/checkpoint.ts';
import type { Clock } from '../core/clock.ts';
import { cosignatureSigner, verifierOfKey } from '../core/cosignature.ts';
import { TalosError } from '../core/errors.ts';
import { sha256 } from '../core/hash.ts';
import { openNote, parseNote, signNote } from '../core/note.ts';
import { type NoteVerifier, noteSignature } from '../core/note-key.ts';
import { OneAtATime } from '../core/one-at-a-time.ts';
import { type AddCheckpoint, parseAddCheckpoint } from './witness-request.ts';
import type { WitnessedCheckpoint, WitnessState } from './witness-state.ts';

interface Head {
  readonly size: number;
  readonly root: Buffer;
}

export interface WitnessOptions {
  /** The witness's name and key. */
  readonly name: string;
  readonly privateKey: KeyObject;
  /** Verifier keys of the logs; several of one origin are all believed. */
  readonly logs: readonly string[];
  readonly state: WitnessState;
  readonly clock: Clock;
  /** Whether `proof` shows that the old tree, of 1 leaf at least, is a prefix of the next. */
  readonly isConsistent: (old: Head, next: Head, proof: readonly Buffer[]) => Promise<boolean>;
}

/** The statuses are those of the specification. */
export type WitnessAnswer =
  /** Signature lines. */
  | { readonly status: 200; readonly cosignatures: string }
  /** The size that the witness has. */
  | { readonly status: 409; readonly size: number }
  | { readonly status: 400 | 403 | 404 | 422; readonly reason: string };

export interface Witness {
  /** Judges the body of an `add-checkpoint` request. Rejects when the state cannot be made durable. */
  readonly addCheckpoint: (body: string) => Promise<WitnessAnswer>;
}

/** Throws `INVALID_REQUEST` for a key of a log that is none. */
export function createWitness(options: WitnessOptions): Witness {
  const logs = logsByOrigin(options.logs);
  const cosigner = cosignatureSigner(options.name, options.privateKey, () => Math.floor(options.clock.now() / 1000));
  // Between the look at the state and its change nobody else may cosign.
  const turns = new OneAtATime();

  async function cosign({ oldSize, proof, note }: AddCheckpoint): Promise<WitnessAnswer> {
    const { origin, ...head } = parseCheckpoint(parseNote(note).text);
    const seen = options.state.of(origin);
    const refusal = await judge(options, seen, head, oldSize, proof);
    if (refusal !== undefined) return refusal;
    // Durable first: a cosignature that was forgotten could be followed by one of another history.
    if (seen === undefined || head.size > seen.size) await options.state.put(origin, { ...head, note });
    const { text } = parseNote(note);
    const cosigned = await signNote({ text, signatures: [] }, [cosigner]);
    return { status: 200, cosignatures: cosigned.slice(text.length + 1) };
  }

  return {
    async addCheckpoint(body) {
      const request = read(body, logs);
      return 'status' in request ? request : await turns.run(() => cosign(request));
    },
  };
}

type Logs = ReadonlyMap<string, readonly NoteVerifier[]>;

function logsByOrigin(keys: readonly string[]): Logs {
  const logs = new Map<string, NoteVerifier[]>();
  for (const verifier of keys.map(verifierOfKey)) {
    if (verifier.type !== noteSignature) {
      throw new TalosError('INVALID_REQUEST', { message: `The key of ${verifier.name} is a witness's, not a log's.` });
    }
    logs.set(verifier.name, [...(logs.get(verifier.name) ?? []), verifier]);
  }
  return logs;
}

/** The request, once it is known to come from a log that is known here; else the refusal. */
function read(body: string, logs: Logs): AddCheckpoint | WitnessAnswer {
  try {
    const request = parseAddCheckpoint(body);
    const { origin, size } = parseCheckpoint(parseNote(request.note).text);
    const verifiers = logs.get(origin);
    if (verifiers === undefined) return { status: 404, reason: 'This witness does not know the log.' };
    if (!isSigned(request.note, verifiers)) return { status: 403, reason: 'The log has not signed the checkpoint.' };
    if (request.oldSize > size) return { status: 400, reason: 'The old size is larger than the checkpoint.' };
    return request;
  } catch (error) {
    if (!(error instanceof TalosError)) throw error;
    return { status: 400, reason: error.message };
  }
}

function isSigned(note: string, verifiers: readonly NoteVerifier[]): boolean {
  try {
    return openNote(note, verifiers).verified.length > 0;
  } catch (error) {
    if (error instanceof TalosError) return false;
    throw error;
  }
}

async function judge(
  { isConsistent }: WitnessOptions,
  seen: WitnessedCheckpoint | undefined,
  head: Head,
  oldSize: number,
  proof: readonly Buffer[],
): Promise<WitnessAnswer | undefined> {
  const size = seen?.size ?? 0;
  if (oldSize !== size) return { status: 409, size };
  const wrongProof = { status: 422, reason: 'The proof does not lead from the old tree to the new one.' } as const;
  if (head.size === 0) return proof.length === 0 && head.root.equals(sha256('')) ? undefined : wrongProof;
  if (seen === undefined || size === 0) return proof.length === 0 ? undefined : wrongProof;
  if (head.size === size) return proof.length > 0 ? wrongProof : sameRoot(seen, head);
  return (await isConsistent(seen, head, proof)) ? undefined : wrongProof;
}

function sameRoot(seen: Head, head: Head): WitnessAnswer | undefined {
  return seen.root.equals(head.root) ? undefined : { status: 409, size: seen.size };
}
