/**
 * The witnesses of this log and how many of them are enough. A round asks all of them at once; one that does not answer
 * is left alone for a while, so that it does not delay the others each time.
 */
import { bounds } from '../config/bounds.ts';
import { formatCheckpoint } from '../core/checkpoint.ts';
import type { Clock } from '../core/clock.ts';
import { verifierOfKey } from '../core/cosignature.ts';
import { sha256 } from '../core/hash.ts';
import type { NodeReader } from '../core/merkle-proof.ts';
import { formatNote, type NoteSignature, openNote, parseNote, signNote } from '../core/note.ts';
import { cosignature, type NoteVerifier } from '../core/note-key.ts';
import type { StoredCheckpoint } from '../storage/checkpoints.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { LogKey } from './log-key.ts';
import { createWitnessClient, type WitnessClient, type WitnessReply } from './witness-client.ts';

export interface WitnessesOptions {
  /** `<verifier key> <submission prefix>`, each. */
  readonly witnesses: readonly string[];
  /** How many must have cosigned; undefined means more than half. */
  readonly quorum: number | undefined;
  readonly nodes: NodeReader;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface Round {
  /** The checkpoint with every cosignature that there is. */
  readonly checkpoint: StoredCheckpoint;
  /** Sizes that witnesses say they have seen, larger than the checkpoint's. */
  readonly ahead: readonly number[];
  /** Witnesses that say this is another log than the one they have cosigned. */
  readonly disputes: number;
}

export interface Witnesses {
  readonly quorum: number;
  /** Whether enough of them have cosigned the note. */
  readonly isCosigned: (note: string) => boolean;
  /** Asks those that have not cosigned it yet. */
  readonly cosign: (checkpoint: StoredCheckpoint) => Promise<Round>;
  /** The sizes that the witnesses have seen of the log; those that do not tell are left out. */
  readonly sizes: (key: LogKey) => Promise<number[]>;
  /** Gives up what is under way. */
  readonly close: () => void;
}

/** The parts of a `log_witnesses` entry. Throws `INVALID_REQUEST` for a verifier key that is none. */
export function parseWitness(text: string): { verifier: NoteVerifier; url: string } {
  const [verifierKey = '', url = ''] = text.split(' ');
  return { verifier: verifierOfKey(verifierKey), url };
}

/** More than half: two disjoint sets of witnesses can then never vouch for two histories. */
export function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}

export function createWitnesses(options: WitnessesOptions): Witnesses {
  const { nodes, fetch, clock, telemetry } = options;
  const witnesses = options.witnesses.map(parseWitness);
  const verifiers = witnesses.map(({ verifier }) => verifier);
  const quorum = options.quorum ?? majorityOf(witnesses.length);
  const nowSec = () => clock.now() / 1000;
  const clients = witnesses.map(({ verifier, url }) =>
    patient(createWitnessClient({ verifier, url, nodes, fetch, nowSec }), clock, telemetry),
  );
  const closing = new AbortController();

  async function cosign(checkpoint: StoredCheckpoint): Promise<Round> {
    const earlier = cosignatures(checkpoint.note, verifiers);
    const asked = clients.filter(({ name }) => !earlier.some((signature) => signature.name === name));
    const replies = await Promise.all(asked.map((client) => client.cosign(checkpoint, closing.signal)));
    const fresh = replies.flatMap((reply) => (reply.kind === 'cosigned' ? [reply.signature] : []));
    return {
      checkpoint: { ...checkpoint, note: withSignatures(checkpoint.note, fresh) },
      ahead: replies.flatMap((reply) => (reply.kind === 'ahead' ? [reply.size] : [])),
      disputes: replies.filter(({ kind }) => kind === 'disputed').length,
    };
  }

  async function sizes({ origin, signers }: LogKey): Promise<number[]> {
    // The empty tree is a prefix of every history, so signing it promises nothing.
    const root = sha256('');
    const note = await signNote({ text: formatCheckpoint({ origin, size: 0, root }), signatures: [] }, signers);
    const { ahead } = await cosign({ size: 0, root, note });
    return [...ahead];
  }

  return {
    quorum,
    isCosigned: (note) => cosignatures(note, verifiers).length >= quorum,
    cosign,
    sizes,
    close: () => closing.abort(new Error('the gateway is stopping')),
  };
}

/** The right cosignatures of these witnesses on a note. */
function cosignatures(note: string, verifiers: readonly NoteVerifier[]): NoteSignature[] {
  return verifiers.flatMap((verifier) => {
    try {
      return openNote(note, [verifier]).verified.filter(() => verifier.type === cosignature);
    } catch {
      return [];
    }
  });
}

function withSignatures(note: string, fresh: readonly NoteSignature[]): string {
  const { text, signatures } = parseNote(note);
  const isReplaced = (old: NoteSignature) => fresh.some(({ name, keyId }) => name === old.name && keyId === old.keyId);
  return formatNote({ text, signatures: [...signatures.filter((old) => !isReplaced(old)), ...fresh] });
}

/** The same client, left alone for longer and longer while it does not answer. */
function patient(client: WitnessClient, clock: Clock, telemetry: Telemetry): WitnessClient {
  const copy = { kind: 'witness', name: client.name } as const;
  let waitMs = 0;
  let notBefore = Number.NEGATIVE_INFINITY;

  async function cosign(checkpoint: StoredCheckpoint, signal: AbortSignal): Promise<WitnessReply> {
    if (clock.monotonic() < notBefore) return { kind: 'failed', reason: 'it is left alone for a while' };
    const reply = await client.cosign(checkpoint, signal);
    if (reply.kind === 'failed') {
      waitMs = Math.min(Math.max(waitMs * 2, bounds.witnessBackoffMinMs), bounds.witnessBackoffMaxMs);
      notBefore = clock.monotonic() + waitMs;
      if (!signal.aborted) telemetry.outsideCopyFailed({ ...copy, reason: reply.reason });
    } else {
      waitMs = 0;
      telemetry.outsideCopyMade(copy);
    }
    return reply;
  }

  return { name: client.name, cosign };
}
