import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBase64url } from '../../src/core/base64url.ts';
import { type Cursor, compareCursors, cursorOf, decodeCursor, encodeCursor, splitId } from '../../src/core/cursor.ts';
import { TalosError } from '../../src/core/errors.ts';
import { uuidv7, uuidv7Ms } from '../../src/core/uuidv7.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const id = '0190a5e0-7c3a-7000-8000-000000000001';

function encoded(text: string): string {
  return encodeBase64url(Buffer.from(text));
}

describe('decodeCursor refuses', () => {
  it.each([
    ['nothing', ''],
    ['what is not base64url', '!!!'],
    ['padding', `${encoded(`10:${id}`)}=`],
    ['plain text', `10:${id}`],
    ['a second spelling of the same bytes', encoded(`1:${id}`).replace(/.$/, (last) => next(last))],
    ['no colon', encoded(`10${id}`)],
    ['no seconds', encoded(`:${id}`)],
    ['negative seconds', encoded(`-1:${id}`)],
    ['a fraction', encoded(`1.5:${id}`)],
    ['a leading zero', encoded(`010:${id}`)],
    ['hexadecimal seconds', encoded(`0x1:${id}`)],
    ['an exponent', encoded(`1e3:${id}`)],
    ['too many digits', encoded(`12345678901234567:${id}`)],
    ['space', encoded(` 10:${id}`)],
    ['a line end', encoded(`10:${id}\n`)],
    ['another part', encoded(`10:${id}:1`)],
    ['a UUIDv4', encoded('10:0190a5e0-7c3a-4000-8000-000000000001')],
    ['capitals', encoded(`10:${id.toUpperCase()}`)],
    ['no id', encoded('10:')],
    ['SQL', encoded(`10:${id}' OR 1=1`)],
    ['a very long text', 'A'.repeat(1_000_000)],
  ])('%s', (_, text) => {
    expect(() => decodeCursor(text)).toThrow(expect.objectContaining({ code: 'TALOS_INVALID_CURSOR' }));
  });

  it('garbage, with TALOS_INVALID_CURSOR and nothing else', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.base64String(), fc.string().map(encoded)), (text) => {
        try {
          decodeCursor(text);
        } catch (error) {
          expect(error).toBeInstanceOf(TalosError);
          expect(error).toMatchObject({ code: 'TALOS_INVALID_CURSOR' });
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('cursors', () => {
  it('come back as they were encoded', () => {
    fc.assert(
      fc.property(anyCursor(), (cursor) => {
        expect(decodeCursor(encodeCursor(cursor))).toEqual(cursor);
      }),
    );
  });

  it('of an event hold the second of its id', () => {
    expect(decodeCursor(cursorOf(id))).toEqual({ seconds: Math.floor(0x0190a5e07c3a / 1000), eventId: id });
  });

  it('are ordered as tuples, although their texts are not', () => {
    const nine = { seconds: 9, eventId: id };
    const ten = { seconds: 10, eventId: id };
    const hundred = { seconds: 100, eventId: id };
    expect([hundred, nine, ten].sort(compareCursors)).toEqual([nine, ten, hundred]);
    expect(encodeCursor(nine) < encodeCursor(ten)).toBe(false);
  });

  it('have a total order', () => {
    fc.assert(
      fc.property(anyCursor(), anyCursor(), anyCursor(), (a, b, c) => {
        expect(compareCursors(a, a)).toBe(0);
        expect(Math.sign(compareCursors(a, b))).toBe(Math.sign(compareCursors(b, a)) * -1 + 0);
        const [first, second, third] = [a, b, c].sort(compareCursors) as [Cursor, Cursor, Cursor];
        expect(compareCursors(first, second)).toBeLessThanOrEqual(0);
        expect(compareCursors(second, third)).toBeLessThanOrEqual(0);
        expect(compareCursors(first, third)).toBeLessThanOrEqual(0);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('splitId', () => {
  it('splits the log exactly where the tuple comparison does', () => {
    fc.assert(
      fc.property(anyCursor(), anyEventId(), (cursor, eventId) => {
        const event = { seconds: Math.floor(uuidv7Ms(eventId) / 1000), eventId };
        expect(eventId < splitId(cursor)).toBe(compareCursors(event, cursor) < 0);
        expect(eventId > splitId(cursor)).toBe(compareCursors(event, cursor) > 0);
      }),
      { numRuns: 5_000 },
    );
  });

  it.each([
    ['a cursor of ours: its own id', { seconds: 0x190a5e07c3a, eventId: id }, undefined],
    [
      'seconds before those of the id: the end of that second',
      { seconds: 9, eventId: id },
      '00000000-2710-7000-8000-000000000000',
    ],
    [
      'seconds after those of the id: their start',
      { seconds: 2_000_000_000, eventId: id },
      '01d1a94a-2000-7000-8000-000000000000',
    ],
    [
      'seconds beyond every id',
      { seconds: 9_007_199_254_740_991, eventId: id },
      'ffffffff-ffff-7000-8000-000000000000',
    ],
  ])('%s', (_, cursor, expected) => {
    const own = { seconds: Math.floor(uuidv7Ms(id) / 1000), eventId: id };
    expect(splitId(expected === undefined ? own : cursor)).toBe(expected ?? id);
  });
});

describeVectors('public vectors', () => {
  it('contracts/cursor_derivation', () => {
    const vectors = vector<{ timestamp: number; event_id: string; expected_cursor: string }[]>(
      'contracts/cursor_derivation.json',
    );
    expect(vectors.length).toBeGreaterThan(0);
    for (const { timestamp, event_id, expected_cursor } of vectors) {
      expect(encodeCursor({ seconds: timestamp, eventId: event_id })).toBe(expected_cursor);
      expect(decodeCursor(expected_cursor)).toEqual({ seconds: timestamp, eventId: event_id });
    }
  });

  it('contracts/ordering, which puts the newest first', () => {
    interface Place {
      readonly timestamp: number;
      readonly event_id: string;
    }
    const place = ({ timestamp, event_id }: Place): Cursor => ({ seconds: timestamp, eventId: event_id });
    const vectors = vector<{ a: Place; b: Place; expected: number }[]>('contracts/ordering.json');
    expect(vectors.length).toBeGreaterThan(0);
    for (const { a, b, expected } of vectors) expect(Math.sign(compareCursors(place(b), place(a)))).toBe(expected);
  });
});

/** Events of a few seconds, so that cursors and events meet often. */
function anyEventId(): fc.Arbitrary<string> {
  return fc.tuple(fc.nat({ max: 4_000 }), fc.nat({ max: 3 })).map(([ms, counter]) => uuidv7({ ms, counter }));
}

/** Cursors as the gateway makes them, and others whose seconds do not belong to their id. */
function anyCursor(): fc.Arbitrary<Cursor> {
  const seconds = fc.oneof(
    fc.nat({ max: 5 }),
    fc.constant(undefined),
    fc.maxSafeNat().filter((n) => n < 1e16),
  );
  return fc.tuple(anyEventId(), seconds).map(([eventId, given]) => ({
    seconds: given ?? Math.floor(uuidv7Ms(eventId) / 1000),
    eventId,
  }));
}

// The last character of these cursors has spare bits; the next character differs in them alone.
function next(last: string): string {
  return String.fromCharCode(last.charCodeAt(0) + 1);
}
