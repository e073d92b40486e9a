import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { RequestListener, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { cosignatureSigner, verifierOfKey } from '../../src/core/cosignature.ts';
import { inclusionProof } from '../../src/core/merkle-proof.ts';
import { openNote, parseNote, signNote } from '../../src/core/note.ts';
import { cosignature, generateNoteKey, noteSigner, parseSignerKey } from '../../src/core/note-key.ts';
import { formatReceipt } from '../../src/core/receipt.ts';
import type { StoredCheckpoint } from '../../src/storage/checkpoints.ts';
import { trust, verifyReceipt } from '../../verifier/index.ts';
import { numbered } from '../support/drafts.ts';
import { eventually } from '../support/gateway.ts';
import { cleanUp, freshLog, query, writerOn } from '../support/log-fixture.ts';
import {
  freshFolder,
  type Place,
  rollBack,
  type Signer,
  type SignerOptions,
  signerOn,
  startHttp,
  startWitness,
  storeOf,
  type TestWitness,
} from '../support/log-signer.ts';

let log: Place;
let folder: string;
/** The verifier key of the log. */
let vkey: string;

beforeEach(async () => {
  log = await freshLog();
  folder = await freshFolder();
  const { checkpointer, key } = await signerOn(log, { folder });
  await checkpointer.close();
  vkey = key.verifierKeys[0] ?? '';
});
afterEach(cleanUp);

async function append(count: number, to = log): Promise<void> {
  const writer = writerOn(to);
  await writer.append(randomUUID(), numbered(count));
  await writer.close();
}

const start = (options: Omit<SignerOptions, 'folder'>): Promise<Signer> => signerOn(log, { folder, ...options });

/** Whether the verifier that users run believes a receipt with this checkpoint, if it believes these witnesses, all of them. */
async function isBelieved(
  { note: checkpoint, size }: StoredCheckpoint,
  ...witnesses: readonly { readonly vkey: string }[]
): Promise<boolean> {
  const trusted = await trust({ vkeys: [vkey, ...witnesses.map((witness) => witness.vkey)] });
  const [row] = await query(log.url, 'SELECT canon FROM audit_event WHERE seq = 0');
  const proof = await inclusionProof(0, size, storeOf(log).tiles.nodes);
  const receipt = formatReceipt({ record: String(row?.['canon']), leafIndex: 0, treeSize: size, proof, checkpoint });
  return (await verifyReceipt(receipt, trusted)).ok;
}

describe('two operators', () => {
  it('witness each other’s logs', async () => {
    const otherLog = await freshLog();
    const otherFolder = await freshFolder();
    const other = await signerOn(otherLog, { folder: otherFolder });
    await other.checkpointer.close();
    const [theirs, ours] = [await startWitness({ logs: [vkey] }), await startWitness({ logs: other.key.verifierKeys })];

    const here = await start({ witnesses: [theirs.entry] });
    const there = await signerOn(otherLog, { folder: otherFolder, witnesses: [ours.entry] });
    for (let size = 3; size <= 12; size += 3) {
      await Promise.all([append(3), append(3, otherLog)]);
      const [mine, yours] = await Promise.all([here.checkpointer.cosigned(size), there.checkpointer.cosigned(size)]);
      expect([mine.size, yours.size]).toEqual([size, size]);
      expect(await isBelieved(mine, theirs)).toBe(true);
      expect(await isBelieved(mine, ours)).toBe(false);
      expect(await isBelieved(yours, theirs)).toBe(false);
      expect(openNote(yours.note, [verifierOfKey(ours.vkey)]).verified).toHaveLength(1);
    }
    expect(here.logText() + there.logText()).not.toMatch(/"level":[4-6]0/);
  });

  it('keep their cosignatures in the database and over a restart', async () => {
    const witness = await startWitness({ logs: [vkey] });
    const first = await start({ witnesses: [witness.entry] });
    await append(4);
    const { note } = await first.checkpointer.cosigned(4);
    await first.checkpointer.close();
    expect(await query(log.url, 'SELECT note FROM log_checkpoint WHERE size = 4')).toEqual([{ note }]);
    await witness.stop();
    const second = await start({ witnesses: [witness.entry] });
    expect((await second.checkpointer.latest()).note).toBe(note);
  });
});

describe('what is published', () => {
  it('is a checkpoint whose witnesses have been asked; a covering one may be fresher', async () => {
    const held: (() => void)[] = [];
    const witness = await startWitness({ logs: [vkey] });
    let isHolding = false;
    const slow = await proxyTo(witness, async () => {
      if (isHolding) await new Promise<void>((resolve) => held.push(resolve));
    });
    const { checkpointer } = await start({ witnesses: [slow] });
    await append(2);
    const before = await checkpointer.cosigned(2);
    expect(await isBelieved(before, witness)).toBe(true);

    isHolding = true;
    await append(2);
    const fresh = await checkpointer.covering(4);
    expect(fresh.size).toBe(4);
    expect(await isBelieved(fresh, witness)).toBe(false);
    await eventually(() => held.length === 1);
    expect(await checkpointer.latest()).toEqual(before);

    isHolding = false;
    const waiting = checkpointer.cosigned(4);
    for (const release of held) release();
    expect(await isBelieved(await waiting, witness)).toBe(true);
    expect((await checkpointer.latest()).size).toBe(4);
    expect((await checkpointer.covering(3)).note).toBe((await waiting).note);
  });

  it('goes without cosignatures when too few witnesses answer, with a warning and a metric', async () => {
    const [alive, dead] = [await startWitness({ logs: [vkey] }), await startWitness({ logs: [vkey] })];
    await dead.stop();
    const signer = await start({ witnesses: [alive.entry, dead.entry] });
    await append(2);
    const checkpoint = await signer.checkpointer.cosigned(2);
    expect(checkpoint.size).toBe(2);
    expect(await isBelieved(checkpoint, alive)).toBe(true);
    expect(await isBelieved(checkpoint, alive, dead)).toBe(false);
    expect(signer.logText()).toMatch(/"level":40.*too few witnesses/);
    const metrics = await signer.metrics();
    expect(metrics).toMatch(/^gateway_log_checkpoints_total\{quorum="missed"\} [1-9]/m);
    expect(metrics).toMatch(
      /^gateway_log_outside_copy_failures_total\{kind="witness",name="witness.example\/\d+"\} 1$/m,
    );
    expect(metrics).toMatch(/^gateway_log_checkpoint_size 2$/m);
  });

  it('has its quorum with as many as the operator says', async () => {
    const [alive, dead] = [await startWitness({ logs: [vkey] }), await startWitness({ logs: [vkey] })];
    await dead.stop();
    const signer = await start({ witnesses: [alive.entry, dead.entry], quorum: 1 });
    await append(2);
    await signer.checkpointer.cosigned(2);
    expect(signer.logText()).not.toContain('too few witnesses');
    expect(await signer.metrics()).toMatch(/^gateway_log_checkpoints_total\{quorum="reached"\} [1-9]/m);
  });

  it('is cosigned again when a witness comes back, and says so', async () => {
    const witness = await startWitness({ logs: [vkey] });
    let isBroken = true;
    const entry = await proxyTo(witness, async (response) => {
      if (isBroken) response.writeHead(500).end();
    });
    const clock = movableClock();
    const signer = await start({ witnesses: [entry], clock });
    await append(2);
    expect(await isBelieved(await signer.checkpointer.cosigned(2), witness)).toBe(false);
    isBroken = false;
    clock.forwardMs += 60_000;
    await append(2);
    expect(await isBelieved(await signer.checkpointer.cosigned(4), witness)).toBe(true);
    expect(signer.logText()).toMatch(/takes checkpoints again/);
    expect(signer.logText()).toMatch(/enough witnesses cosign/);
  });

  it('does not wait each time for a witness that does not answer', async () => {
    let asked = 0;
    const entry = `${generateNoteKey('silent.example', cosignature).vkey} ${await startHttp((_, response) => {
      asked++;
      response.writeHead(503).end();
    })}`;
    const clock = movableClock(0);
    const { checkpointer } = await start({ witnesses: [entry], clock });
    for (let size = 1; size <= 10; size++) {
      await append(1);
      await checkpointer.cosigned(size);
    }
    expect(asked).toBe(1);
  });
});

describe('several gateways of one log', () => {
  it('share its witnesses without a dispute', async () => {
    const witnesses = [await startWitness({ logs: [vkey] }), await startWitness({ logs: [vkey] })];
    const entries = witnesses.map(({ entry }) => entry);
    const signers = await Promise.all(
      [1, 2, 3].map(async () =>
        signerOn(log, { folder: await freshFolder(), keyFile: join(folder, 'log.key'), witnesses: entries, quorum: 2 }),
      ),
    );
    const writer = writerOn(log);
    for (let round = 1; round <= 12; round++) {
      await writer.append(randomUUID(), numbered(5));
      await Promise.all(signers.map(({ checkpointer }) => checkpointer.cosigned(round * 5)));
    }
    for (const { checkpointer, logText } of signers) {
      checkpointer.assertSound();
      expect(logText()).not.toMatch(/another history|FORKED/);
    }
    await append(1);
    const last = await signers[0]?.checkpointer.cosigned(61);
    expect(last === undefined ? false : await isBelieved(last, ...witnesses)).toBe(true);
  });
});

describe('a database that was rolled back', () => {
  let witnesses: TestWitness[];
  let entries: string[];

  beforeEach(async () => {
    witnesses = [await startWitness({ logs: [vkey] }), await startWitness({ logs: [vkey] })];
    entries = witnesses.map(({ entry }) => entry);
    const { checkpointer } = await start({ witnesses: entries });
    await append(10);
    await checkpointer.cosigned(10);
    await checkpointer.close();
    // The owner of the database has covered every trace of their own.
    await rm(join(folder, 'log.checkpoint'));
    await rollBack(log, 6);
  });

  it('is told from the witnesses at the start', async () => {
    await expect(start({ witnesses: entries })).rejects.toThrow(
      '2 of the witnesses have cosigned more than the 6 records that the database holds: it is an old copy.',
    );
  });

  it('is told though all of it is gone', async () => {
    await rollBack(log, 0);
    await expect(start({ witnesses: entries })).rejects.toThrow(/more than the 0 records/);
  });

  it('is not told by fewer witnesses than the operator believes, but they are heard', async () => {
    await witnesses[1]?.stop();
    const { logText } = await start({ witnesses: entries, quorum: 2 });
    expect(logText()).toMatch(/"level":50.*1 of the witnesses have cosigned more than the 6 records/);
  });

  it('is not told when it has grown again, until the first new checkpoint: that ends the signing', async () => {
    await append(10);
    const signer = await start({ witnesses: entries });
    await signer.checkpointer.covering(16).catch(() => undefined);
    await eventually(() => signer.logText().includes('FORKED'));
    expect(signer.logText()).toContain('2 of the witnesses have cosigned another history of this log.');
    await expect(signer.checkpointer.cosigned(16)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
    expect(() => signer.checkpointer.assertSound()).toThrow();
  });

  it('that is rolled back again while the gateway runs ends the signing too, by its own memory', async () => {
    await rollBack(log, 0);
    const empty = await start({});
    await append(3);
    await empty.checkpointer.covering(3);
    await rollBack(log, 1);
    await expect(empty.checkpointer.covering(4)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
  });
});

describe('a witness that is not what it seems', () => {
  const stranger = generateNoteKey('hostile.example', cosignature);
  const key = parseSignerKey(stranger.skey);

  interface Ask {
    readonly oldSize: string;
    readonly note: string;
  }

  /** A witness with this key that answers as it likes; what it is told comes to `asks`. */
  async function hostile(
    respond: (ask: Ask, response: ServerResponse) => unknown,
  ): Promise<{ entry: string; asks: Ask[] }> {
    const asks: Ask[] = [];
    const url = await startHttp(async (request, response) => {
      const body = await readAll(request);
      const split = body.indexOf('\n\n');
      const ask = { oldSize: body.slice(4, body.indexOf('\n')), note: body.slice(split + 2) };
      asks.push(ask);
      // The probe at the start asks for the size only.
      if (parseCheckpoint(parseNote(ask.note).text).size === 0) response.end(await cosign(textOf(ask)));
      else await respond(ask, response);
    });
    return { entry: `${stranger.vkey} ${url}`, asks };
  }

  const linesOf = (signed: string) => signed.slice(signed.lastIndexOf('\n\n') + 2);
  const nowSec = () => Math.floor(systemClock.now() / 1000);

  async function cosign(text: string, timeSec = nowSec, privateKey = key.privateKey, name = key.name): Promise<string> {
    return linesOf(await signNote({ text, signatures: [] }, [cosignatureSigner(name, privateKey, timeSec)]));
  }

  const textOf = ({ note }: Ask) => parseNote(note).text;
  const other = parseSignerKey(generateNoteKey(key.name, cosignature).skey);

  async function publishedWith(respond: (ask: Ask, response: ServerResponse) => unknown) {
    const { entry, asks } = await hostile(respond);
    const clock = movableClock(60_000);
    const signer = await start({ witnesses: [entry], clock });
    await append(3);
    const checkpoint = await signer.checkpointer.cosigned(3);
    return { signer, checkpoint, asks };
  }

  it('but cosigns as it should is believed', async () => {
    const { checkpoint } = await publishedWith(async (ask, response) => response.end(await cosign(textOf(ask))));
    expect(await isBelieved(checkpoint, stranger)).toBe(true);
  });

  it.each<[string, (ask: Ask) => Promise<string> | string]>([
    ['nothing', () => ''],
    ['words', () => 'hello\n'],
    ['the cosignature of another key', (ask) => cosign(textOf(ask), nowSec, other.privateKey)],
    ['a cosignature of another checkpoint', (ask) => cosign(textOf(ask).replace('\n3\n', '\n4\n'))],
    ['a cosignature from the future', (ask) => cosign(textOf(ask), () => nowSec() + 3_600)],
    ['a cosignature without a time', (ask) => cosign(textOf(ask), () => 0)],
    [
      'a plain signature of its key',
      async (ask) =>
        linesOf(await signNote({ text: textOf(ask), signatures: [] }, [noteSigner(key.name, key.privateKey)])),
    ],
    ['more text and then a cosignature', async (ask) => `more\n\n${await cosign(`${textOf(ask)}more\n`)}`],
    ['the log’s own signature', (ask) => linesOf(ask.note)],
    [
      'its cosignature in far too long an answer',
      async (ask) => (await cosign(textOf(ask))) + `— x ${Buffer.alloc(300).toString('base64')}\n`.repeat(90),
    ],
    ['a megabyte', () => '— x AAAA\n'.repeat(120_000)],
  ])('that answers 200 with %s is not', async (_name, respond) => {
    const { signer, checkpoint } = await publishedWith(async (ask, response) => response.end(await respond(ask)));
    expect(checkpoint.size).toBe(3);
    expect(parseNote(checkpoint.note).signatures).toHaveLength(1);
    expect(signer.logText()).toMatch(/the witness hostile.example did not take a checkpoint/);
    expect(signer.logText()).toMatch(/too few witnesses/);
    signer.checkpointer.assertSound();
  });

  it.each([400, 403, 404, 429, 500, 503, 204])('that answers %d is passed over', async (status) => {
    const { signer, checkpoint } = await publishedWith((_, response) => response.writeHead(status).end());
    expect(parseNote(checkpoint.note).signatures).toHaveLength(1);
    expect(signer.logText()).toContain(`it answered ${status}`);
    signer.checkpointer.assertSound();
  });

  it('that sends us elsewhere is not followed', async () => {
    let followed = 0;
    const elsewhere = await startHttp((_, response) => {
      followed++;
      response.end();
    });
    const { checkpoint } = await publishedWith((_, response) =>
      response.writeHead(307, { location: `${elsewhere}/add-checkpoint` }).end(),
    );
    expect(parseNote(checkpoint.note).signatures).toHaveLength(1);
    expect(followed).toBe(0);
  });

  it('that hangs up is passed over', async () => {
    const { checkpoint } = await publishedWith((_, response) => response.destroy());
    expect(parseNote(checkpoint.note).signatures).toHaveLength(1);
  });

  it('that never answers is not waited for at the end', async () => {
    const { entry, asks } = await hostile(() => undefined);
    const signer = await start({ witnesses: [entry] });
    await append(3);
    expect((await signer.checkpointer.covering(3)).size).toBe(3);
    await eventually(() => asks.length === 2);
    const startedAt = performance.now();
    await signer.checkpointer.close();
    expect(performance.now() - startedAt).toBeLessThan(9_000);
  });

  const size = (response: ServerResponse, text: string) =>
    response.writeHead(409, { 'content-type': 'text/x.tlog.size' }).end(text);

  it('that has an older checkpoint gets the proof from there', async () => {
    const witness = await startWitness({ logs: [vkey] });
    const signer = await start({ witnesses: [witness.entry] });
    await append(300);
    await signer.checkpointer.cosigned(300);
    await signer.checkpointer.close();
    await append(300);
    const again = await start({ witnesses: [witness.entry] });
    expect(await isBelieved(await again.checkpointer.cosigned(600), witness)).toBe(true);
  });

  it.each(['', 'many', '-1', '01', '9007199254740993', '3\n3', '1e3'])(
    'that answers 409 with %j is passed over',
    async (text) => {
      const { signer, checkpoint } = await publishedWith((_, response) => size(response, text));
      expect(parseNote(checkpoint.note).signatures).toHaveLength(1);
      expect(signer.logText()).toContain('it answered 409 without a size');
      signer.checkpointer.assertSound();
    },
  );

  it('that answers 409 with a page is passed over', async () => {
    const { signer } = await publishedWith((_, response) => response.writeHead(409).end('2\n'));
    expect(signer.logText()).toContain('it answered 409 without a size');
  });

  it('that names another size each time is given up', async () => {
    let n = 0;
    const { signer, asks } = await publishedWith((_, response) => size(response, `${(++n % 2) + 1}\n`));
    expect(signer.logText()).toContain('it named another size each time');
    expect(asks.filter(({ note }) => note.includes('\n3\n'))).toHaveLength(bounds.witnessResendsMax);
    signer.checkpointer.assertSound();
  });

  it.each<[string, (response: ServerResponse) => unknown]>([
    ['has seen a larger log', (response) => size(response, '1000000\n')],
    ['has seen another log', (response) => response.writeHead(422).end()],
    ['has another root', (response) => size(response, '0\n')],
  ])('that says it %s does not stop us when others say nothing like it', async (_name, respond) => {
    const honest = [await startWitness({ logs: [vkey] }), await startWitness({ logs: [vkey] })];
    const liar = await hostile((_, response) => respond(response));
    const signer = await start({ witnesses: [...honest.map(({ entry }) => entry), liar.entry] });
    await append(3);
    const checkpoint = await signer.checkpointer.cosigned(3);
    expect(await isBelieved(checkpoint, ...honest)).toBe(true);
    expect(signer.logText()).toMatch(/"level":50.*1 of the witnesses have cosigned another history/);
    signer.checkpointer.assertSound();
  });

  it('but is the one that the operator believes does', async () => {
    const liar = await hostile((_, response) => response.writeHead(422).end());
    const signer = await start({ witnesses: [liar.entry] });
    await append(3);
    const { note } = await signer.checkpointer.covering(3);
    await eventually(() => signer.logText().includes('FORKED'));
    expect(() => signer.checkpointer.assertSound()).toThrow();
    expect(parseNote(note).signatures).toHaveLength(1);
  });

  it('learns nothing but the checkpoint and the proof', async () => {
    const { asks } = await publishedWith((_, response) => response.end());
    for (const { note } of asks) expect(note).toMatch(/^log\.example\/audit\n\d+\n[A-Za-z0-9+/=]{44}\n\n— \S+ \S+\n$/);
  });
});

interface MovableClock extends Clock {
  forwardMs: number;
}

/** Real time, moved forward by hand; with a step, it moves that far by itself each time a duration is measured. */
function movableClock(stepMs?: number): MovableClock {
  let stepped = 0;
  return {
    forwardMs: 0,
    now: () => systemClock.now(),
    monotonic() {
      stepped += stepMs ?? 0;
      return stepMs === 0 ? 0 : systemClock.monotonic() + this.forwardMs + stepped;
    },
  };
}

/** A way to the witness that something is done on first; what ends the response there goes no further. */
async function proxyTo(witness: TestWitness, first: (response: ServerResponse) => Promise<unknown>): Promise<string> {
  const listener: RequestListener = async (request, response) => {
    const body = await readAll(request);
    await first(response);
    if (response.writableEnded) return;
    const answer = await fetch(`${witness.url}${request.url ?? ''}`, { method: 'POST', body });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
    response.end(await answer.text());
  };
  return `${witness.vkey} ${await startHttp(listener)}`;
}
