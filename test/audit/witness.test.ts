import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWitness } from '../../src/audit/witness.ts';
import { openWitnessState } from '../../src/audit/witness-state.ts';
import { formatCheckpoint } from '../../src/core/checkpoint.ts';
import { systemClock } from '../../src/core/clock.ts';
import { cosignedAtSec, verifierOfKey } from '../../src/core/cosignature.ts';
import { leafHash } from '../../src/core/merkle.ts';
import { consistencyProof, type NodeId, rootOf } from '../../src/core/merkle-proof.ts';
import { openNote, signNote } from '../../src/core/note.ts';
import { cosignature, generateNoteKey, noteSigner, parseSignerKey } from '../../src/core/note-key.ts';
import { TreeBuilder } from '../../verifier/index.ts';
import { cleanUp } from '../support/log-fixture.ts';
import { startWitness, type TestWitness } from '../support/log-signer.ts';

const origin = 'log.example/audit';
const logKey = generateNoteKey(origin);
const newKey = generateNoteKey(origin);
const strangerKey = generateNoteKey(origin);

/** A log in memory: its leaves are words that start with `history`. */
function logOf(history: string) {
  const leaf = (index: number) => leafHash(`${history} ${index}`);
  const read = async (nodes: readonly NodeId[]) => {
    const hashes: Buffer[] = [];
    for (const { level, index } of nodes) {
      const tree = new TreeBuilder();
      const first = index * 2 ** level;
      await tree.append(Array.from({ length: 2 ** level }, (_, at) => Uint8Array.from(leaf(first + at))));
      hashes.push(Buffer.from(await tree.root()));
    }
    return hashes;
  };
  const emptyRoot = async () => Buffer.from(await new TreeBuilder().root());
  return {
    root: (size: number) => (size === 0 ? emptyRoot() : rootOf(size, read)),
    proof: (from: number, to: number) => (from === 0 ? Promise.resolve([]) : consistencyProof(from, to, read)),
  };
}

const log = logOf('true');
const fork = logOf('false');

interface Submission {
  readonly old: number;
  readonly size: number;
  readonly tree?: ReturnType<typeof logOf>;
  readonly key?: string;
  readonly name?: string;
  readonly proof?: readonly string[];
}

const base64 = (hashes: readonly Buffer[]) => hashes.map((hash) => hash.toString('base64'));

async function noteOf({
  size,
  tree = log,
  key = logKey.skey,
  name = origin,
}: Omit<Submission, 'old'>): Promise<string> {
  const text = formatCheckpoint({ origin: name, size, root: await tree.root(size) });
  const { name: keyName, privateKey } = parseSignerKey(key);
  return await signNote({ text, signatures: [] }, [noteSigner(keyName, privateKey)]);
}

async function bodyOf(submission: Submission): Promise<string> {
  const { old, size, tree = log } = submission;
  const proof = submission.proof ?? base64(old <= size ? await tree.proof(old, size) : []);
  return `${[`old ${old}`, ...proof].join('\n')}\n\n${await noteOf(submission)}`;
}

let witness: TestWitness;

beforeEach(async () => {
  witness = await startWitness({ logs: [logKey.vkey, newKey.vkey] });
});
afterEach(cleanUp);

async function post(body: string | Uint8Array<ArrayBuffer>, to = witness) {
  const response = await fetch(`${to.url}/add-checkpoint`, { method: 'POST', body });
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
}

const submit = async (submission: Submission, to = witness) => post(await bodyOf(submission), to);

/** The witness still has the checkpoint of this size, and no other. */
async function expectSize(size: number): Promise<void> {
  const other = size === 9 ? 8 : 9;
  expect(await submit({ old: other, size: 20 })).toEqual({ status: 409, type: 'text/x.tlog.size', text: `${size}\n` });
}

describe('a witness', () => {
  it('cosigns the first checkpoint that it sees, and each that continues the last one', async () => {
    for (const [old, size] of [
      [0, 1],
      [1, 2],
      [2, 7],
      [7, 8],
      [8, 300],
    ] as const) {
      const { status, text } = await submit({ old, size });
      expect(status).toBe(200);
      const note = `${formatCheckpoint({ origin, size, root: await log.root(size) })}\n${text}`;
      const { verified, unknown } = openNote(note, [verifierOfKey(witness.vkey)]);
      expect({ verified: verified.length, unknown }).toEqual({ verified: 1, unknown: [] });
      const timeSec = cosignedAtSec(verified[0]?.bytes ?? Buffer.alloc(0)) ?? 0;
      expect(Math.abs(timeSec - Date.now() / 1000)).toBeLessThan(60);
    }
  });

  it('cosigns again what it has cosigned', async () => {
    expect((await submit({ old: 0, size: 5 })).status).toBe(200);
    expect((await submit({ old: 5, size: 5 })).status).toBe(200);
    await expectSize(5);
  });

  it('cosigns an empty log, once and again, and then a first record', async () => {
    expect((await submit({ old: 0, size: 0 })).status).toBe(200);
    expect((await submit({ old: 0, size: 0 })).status).toBe(200);
    expect((await submit({ old: 0, size: 3 })).status).toBe(200);
    expect((await submit({ old: 0, size: 0 })).status).toBe(409);
  });

  it('believes each key of a log, and passes over signatures that it does not know', async () => {
    expect((await submit({ old: 0, size: 3, key: newKey.skey })).status).toBe(200);
    const { privateKey } = parseSignerKey(strangerKey.skey);
    const note = await noteOf({ size: 4 });
    const split = note.indexOf('\n\n') + 1;
    const signed = await signNote({ text: note.slice(0, split), signatures: [] }, [
      noteSigner('other.example', privateKey),
    ]);
    const lines = signed.slice(split + 1);
    const proof = base64(await log.proof(3, 4));
    expect((await post(`old 3\n${proof.join('\n')}\n\n${note}${lines}`)).status).toBe(200);
  });

  it('has written down what it cosigned before it answers', async () => {
    await submit({ old: 0, size: 5 });
    const { checkpoints } = JSON.parse(await readFile(witness.stateFile, 'utf8'));
    expect(checkpoints).toEqual({ [origin]: await noteOf({ size: 5 }) });
  });

  it('remembers it in its next life', async () => {
    await submit({ old: 0, size: 5 });
    await witness.stop();
    const again = await startWitness({ logs: [logKey.vkey], instead: witness });
    expect((await submit({ old: 0, size: 7, tree: fork }, again)).status).toBe(409);
    expect((await submit({ old: 5, size: 7, tree: fork }, again)).status).toBe(422);
    expect((await submit({ old: 5, size: 7 }, again)).status).toBe(200);
  });

  it('cosigns one of two histories that come at the same moment, never both', async () => {
    const bodies = await Promise.all(
      [log, fork, log, fork, log, fork].map((tree) => bodyOf({ old: 0, size: 6, tree })),
    );
    const answers = await Promise.all(bodies.map((body) => post(body)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    for (const { status, text } of answers) if (status !== 200) expect([status, text]).toEqual([409, '6\n']);
  });
});

describe('a witness refuses', () => {
  beforeEach(async () => {
    expect((await submit({ old: 0, size: 5 })).status).toBe(200);
  });

  it.each<[string, Submission, number]>([
    ['a log that was rolled back', { old: 3, size: 4 }, 409],
    ['a log that begins anew', { old: 0, size: 4 }, 409],
    ['a size that it has not seen', { old: 6, size: 8 }, 409],
    ['another history of the same size', { old: 5, size: 5, tree: fork }, 409],
    ['a longer history with another beginning', { old: 5, size: 9, tree: fork }, 422],
    ['a proof that is cut short', { old: 5, size: 9, proof: [] }, 422],
    ['a proof of another step', { old: 5, size: 9, proof: ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='] }, 422],
    [
      'a proof where there is nothing to prove',
      { old: 5, size: 5, proof: ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='] },
      422,
    ],
    ['an old size beyond the checkpoint', { old: 5, size: 4 }, 400],
    [
      'a log that it does not know',
      { old: 0, size: 5, name: 'who.example', key: generateNoteKey('who.example').skey },
      404,
    ],
    ['the key of a stranger', { old: 5, size: 9, key: strangerKey.skey }, 403],
    ['the key of another name', { old: 5, size: 9, key: generateNoteKey('who.example').skey }, 403],
  ])('%s', async (_name, submission, status) => {
    const answer = await submit(submission);
    expect(answer.status).toBe(status);
    expect(answer.text).not.toContain('—');
    await expectSize(5);
  });

  it('a signature that is wrong, though it names the right key', async () => {
    const body = await bodyOf({ old: 5, size: 9 });
    const signature = /— \S+ (\S+)\n$/.exec(body)?.[1] ?? '';
    const bytes = Buffer.from(signature, 'base64');
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    expect((await post(body.replace(signature, bytes.toString('base64')))).status).toBe(403);
    await expectSize(5);
  });

  it('a checkpoint whose text was changed after it was signed', async () => {
    const body = await bodyOf({ old: 5, size: 9 });
    expect((await post(body.replace(`${origin}\n9\n`, `${origin}\n8\n`))).status).toBe(403);
    await expectSize(5);
  });

  it('a proof for a log that it sees for the first time', async () => {
    const other = await startWitness({ logs: [logKey.vkey] });
    const proof = base64(await log.proof(3, 5));
    expect((await submit({ old: 0, size: 5, proof }, other)).status).toBe(422);
  });

  it('an empty log with a root that is not empty', async () => {
    const other = await startWitness({ logs: [logKey.vkey] });
    const text = formatCheckpoint({ origin, size: 0, root: await log.root(3) });
    const { privateKey } = parseSignerKey(logKey.skey);
    const note = await signNote({ text, signatures: [] }, [noteSigner(origin, privateKey)]);
    expect((await post(`old 0\n\n${note}`, other)).status).toBe(422);
  });

  it.each<[string, (body: string) => string]>([
    ['nothing', () => ''],
    ['words', () => 'hello'],
    ['no old size', (body) => body.slice(body.indexOf('\n') + 1)],
    ['a negative size', (body) => body.replace('old 5', 'old -5')],
    ['leading zeroes', (body) => body.replace('old 5', 'old 05')],
    ['hexadecimal', (body) => body.replace('old 5', 'old 0x5')],
    ['two spaces', (body) => body.replace('old 5', 'old  5')],
    ['a size beyond 2^53', (body) => body.replace('old 5', 'old 9007199254740993')],
    ['carriage returns', (body) => body.replaceAll('\n', '\r\n')],
    ['no empty line', (body) => body.replace('\n\n', '\n')],
    ['no checkpoint', (body) => body.slice(0, body.indexOf('\n\n') + 2)],
    ['no signature', (body) => body.slice(0, body.lastIndexOf('\n\n') + 2)],
    ['a proof line that is no hash', (body) => body.replace('old 5\n', 'old 5\nAAAA\n')],
    [
      '64 proof lines',
      (body) => body.replace('old 5\n', `old 5\n${`${Buffer.alloc(32).toString('base64')}\n`.repeat(64)}`),
    ],
    ['base64 without padding', (body) => body.replace(/=\n/, '\n')],
    ['a control character', (body) => body.replace(origin, 'log.example\u0000audit')],
  ])('a body with %s', async (_name, change) => {
    const answer = await post(change(await bodyOf({ old: 5, size: 9 })));
    expect(answer.status).toBe(400);
    await expectSize(5);
  });

  it('a body that is too long, and one that is not UTF-8', async () => {
    const body = await bodyOf({ old: 5, size: 9 });
    expect((await post(body + '\n'.repeat(100_000))).status).toBe(413);
    expect((await post(Uint8Array.from([...Buffer.from(body), 0xff]))).status).toBe(413);
    await expectSize(5);
  });

  it('other paths and methods', async () => {
    const body = await bodyOf({ old: 5, size: 9 });
    expect((await fetch(`${witness.url}/`, { method: 'POST', body })).status).toBe(404);
    expect((await fetch(`${witness.url}/add-checkpoint?x`, { method: 'POST', body })).status).toBe(404);
    expect((await fetch(`${witness.url}/add-checkpoint`)).status).toBe(405);
    expect((await fetch(`${witness.url}/add-checkpoint`, { method: 'PUT', body })).status).toBe(405);
    await expectSize(5);
  });

  it('to take half a request for a whole one', async () => {
    const body = await bodyOf({ old: 5, size: 9 });
    const socket = connect(Number(new URL(witness.url).port), '127.0.0.1');
    socket.write(`POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: ${body.length + 10}\r\n\r\n${body}`);
    await new Promise<void>((resolve) => socket.end(() => resolve()));
    await new Promise((resolve) => socket.once('close', resolve).resume());
    await expectSize(5);
  });
});

describe('the state of a witness', () => {
  it('that cannot be written keeps it from cosigning', async () => {
    await submit({ old: 0, size: 5 });
    await rm(dirname(witness.stateFile), { recursive: true });
    const refused = await submit({ old: 5, size: 9 });
    expect(refused).toMatchObject({ status: 500, text: 'The checkpoint could not be judged.' });
    await expectSize(5);
    // Undone, so that what cleans up finds its folder.
    await mkdir(dirname(witness.stateFile));
  });

  it('must be there: one that lost it would vouch for a log that was rolled back', async () => {
    await rm(witness.stateFile);
    await expect(openWitnessState(witness.stateFile)).rejects.toThrow(/cannot be read: ENOENT/);
  });

  it.each([
    ['nothing', ''],
    ['half of it', '{"format":"talos.witness/v1","checkpoints":{"a"'],
    ['another format', '{"format":"talos.witness/v2","checkpoints":{}}'],
    ['no checkpoints', '{"format":"talos.witness/v1"}'],
    ['a checkpoint that is none', '{"format":"talos.witness/v1","checkpoints":{"a":"b"}}'],
    ['a number', '{"format":"talos.witness/v1","checkpoints":{"a":1}}'],
    ['one origin twice', '{"format":"talos.witness/v1","checkpoints":{},"checkpoints":{}}'],
  ])('with %s is refused', async (_name, text) => {
    await writeFile(witness.stateFile, text);
    await expect(openWitnessState(witness.stateFile)).rejects.toThrow(/state of the witness in .* cannot be read/);
  });

  it('with a checkpoint of another log under the name of this one is refused', async () => {
    const note = await noteOf({ size: 3 });
    const text = JSON.stringify({ format: 'talos.witness/v1', checkpoints: { 'a.example': note } });
    await writeFile(witness.stateFile, text);
    await expect(openWitnessState(witness.stateFile)).rejects.toThrow(/is of another log/);
  });
});

describe('the keys of logs', () => {
  it.each([
    ['are not words', 'hello'],
    ['are not those of witnesses', generateNoteKey('w.example', cosignature).vkey],
    ['have the id that they are named by', logKey.vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')],
  ])('%s', async (_name, key) => {
    const state = await openWitnessState(witness.stateFile);
    const options = { ...parseSignerKey(witness.skey), state, clock: systemClock, isConsistent: async () => true };
    expect(() => createWitness({ ...options, logs: [key] })).toThrow(/key/);
  });
});
