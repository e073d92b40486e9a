import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineTooLong } from '../../src/mcp/duplex/line-framer.ts';
import { SseParser } from '../../src/mcp/http/sse-parser.ts';

function parsed(chunks: readonly (string | Buffer)[], eventBytesMax = 1_000) {
  const events: { type: string; data: string }[] = [];
  const parser = new SseParser(eventBytesMax, ({ type, data }) => events.push({ type, data: data.toString('utf8') }));
  for (const chunk of chunks) parser.push(Buffer.from(chunk));
  return { events, parser };
}

describe('SseParser', () => {
  it('gives type and data of each event', () => {
    const { events } = parsed(['event: ping\ndata: 1\n\ndata:2\n\n']);
    expect(events).toEqual([
      { type: 'ping', data: '1' },
      { type: 'message', data: '2' },
    ]);
  });

  it('joins data lines with a line feed and takes one space off each', () => {
    expect(parsed(['data:  a\ndata\ndata:b\n\n']).events).toEqual([{ type: 'message', data: ' a\n\nb' }]);
  });

  it('understands CRLF and a byte order mark', () => {
    expect(parsed(['\ufeffdata: a\r\n\r\n']).events).toEqual([{ type: 'message', data: 'a' }]);
  });

  it('remembers id and retry', () => {
    const { parser } = parsed(['id: 7\nretry: 250\ndata: x\n\n']);
    expect([parser.lastEventId, parser.retryMs]).toEqual(['7', 250]);
  });

  it('gives the same events however the bytes are cut', () => {
    const stream = Buffer.from(
      ': hello\n\nevent: a\nid: 1\ndata: {"ä":"€"}\n\nid: 2\ndata: two\r\ndata: lines\r\n\r\n',
    );
    const whole = parsed([stream]).events;
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length)), (cuts) => {
        const ends = [...cuts.sort((a, b) => a - b), stream.length];
        expect(parsed(ends.map((end, at) => stream.subarray(ends[at - 1] ?? 0, end))).events).toEqual(whole);
      }),
    );
  });

  it.each([
    ['a comment', ': data: x\n\n'],
    ['an event without data', 'event: x\n\n'],
    ['an event with empty data', 'data:\n\n'],
    ['an event without its blank line', 'data: x\n'],
    ['an unknown field', 'datum: x\n\n'],
    ['a field with a space before its name', ' data: x\n\n'],
  ])('takes %s for no event', (_, stream) => {
    expect(parsed([stream]).events).toEqual([]);
  });

  it.each(['a\0b', '日本', '\u007f', 'x'.repeat(1_025)])(
    'takes nothing for an id that a header cannot carry: %j',
    (id) => {
      expect(parsed([`id: 1\ndata: x\nid: ${id}\n\n`], 10_000).parser.lastEventId).toBe('1');
    },
  );

  it('bounds an event that is made of empty lines of data', () => {
    expect(parsed(['data:\n'.repeat(1_001), '\n']).events[0]?.data).toHaveLength(1_000);
    expect(() => parsed(['data:\n'.repeat(1_002)])).toThrow(LineTooLong);
  });

  it('does not carry the type of one event over to the next', () => {
    expect(parsed(['event: a\n\ndata: x\n\n']).events).toEqual([{ type: 'message', data: 'x' }]);
  });

  it.each(['-1', '1.5', 'soon', '', '99999999999999'])('ignores the retry %j', (retry) => {
    expect(parsed([`retry: ${retry}\n\n`]).parser.retryMs).toBeUndefined();
  });

  it('ignores an id that holds a null character', () => {
    expect(parsed(['id: a\0b\n\n']).parser.lastEventId).toBeUndefined();
  });

  it('refuses an event over the bound, in one line or in many', () => {
    expect(parsed([`data: ${'x'.repeat(100)}\n\n`], 100).events).toHaveLength(1);
    expect(() => parsed([`data: ${'x'.repeat(101)}\n\n`], 100)).toThrow(LineTooLong);
    expect(() => parsed(['data: xxxxxxxxxx\n'.repeat(11)], 100)).toThrow(LineTooLong);
    expect(() => parsed(['x'.repeat(200)], 100)).toThrow(LineTooLong);
  });
});
