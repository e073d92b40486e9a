import { describe, expect, it } from 'vitest';
import { parseLogKey } from '../../src/audit/log-key.ts';
import { retiredKeys, signersOf } from '../../src/audit/retired-keys.ts';
import { signNote } from '../../src/core/note.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';

const [first, second, third] = [0, 1, 2].map(() => generateNoteKey('log.example/audit')) as [Key, Key, Key];
type Key = ReturnType<typeof generateNoteKey>;
const stranger = generateNoteKey('witness.example/w');

async function noteBy(...keys: readonly Key[]): Promise<string> {
  const signers = keys.flatMap(({ skey }) => parseLogKey(skey, 'The key').signers);
  return await signNote({ text: 'log.example/audit\n0\n\n', signatures: [] }, signers);
}

describe('a key of a log', () => {
  const all = [first, second, third].map(({ vkey }) => vkey);

  it.each<[string, Key[], Key[]]>([
    ['is retired when a newer one signs without it', [third], [first, second]],
    ['is not while it signs beside a newer one', [first, third], [second]],
    ['is not because a newer one does not sign yet', [first], []],
    ['is not when nothing is known of the others', [stranger], []],
  ])('%s', async (_, signers, retired) => {
    expect(retiredKeys(all, await noteBy(...signers))).toEqual(retired.map(({ vkey }) => vkey));
  });

  it('is named by its signature as its verifier key names it', async () => {
    const [name] = signersOf(await noteBy(first));
    expect(first.vkey.startsWith(`${name}+`)).toBe(true);
  });
});
