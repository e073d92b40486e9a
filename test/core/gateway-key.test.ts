/** Ids that gateways make, and what they vouch for: nobody without their key can make either. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  isMintedSessionId,
  isMintedState,
  mintSessionId,
  mintState,
  readVoucher,
  signVoucher,
} from '../../src/core/gateway-key.ts';

const key = randomBytes(32);
const otherKey = randomBytes(32);

/** The text with the last bit of the character at `at` turned over. */
function bent(text: string, at: number): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const value = alphabet.indexOf(text[at] ?? '');
  return `${text.slice(0, at)}${alphabet[value ^ 1]}${text.slice(at + 1)}`;
}

describe('an id of a session', () => {
  it('is known as one that a gateway made, and never the same twice', () => {
    const ids = Array.from({ length: 1_000 }, () => mintSessionId(key));
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect([id.length, isMintedSessionId(key, id)]).toEqual([43, true]);
  });

  it('is nothing under another key', () => {
    expect(isMintedSessionId(otherKey, mintSessionId(key))).toBe(false);
  });

  it('is nothing with any one character changed', () => {
    const id = mintSessionId(key);
    for (let at = 0; at < id.length; at++) expect(isMintedSessionId(key, bent(id, at))).toBe(false);
  });

  it.each(['', 'a', '=', 'x'.repeat(43), 'A'.repeat(44), 'é'.repeat(43), `${'A'.repeat(42)}=`, '\n'])(
    'is not %j',
    (text) => {
      expect(isMintedSessionId(key, text)).toBe(false);
    },
  );
});

describe('a state', () => {
  it('is known as one that a gateway made, and is no id of a session, nor the other way round', () => {
    const [state, id] = [mintState(key), mintSessionId(key)];
    expect([isMintedState(key, state), isMintedState(otherKey, state), isMintedState(key, id)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(isMintedSessionId(key, state)).toBe(false);
  });
});

describe('a voucher', () => {
  const nowMs = 1_700_000_000_000;
  const voucher = { address: '203.0.113.7', base: 'https://gateway.example' };
  const request = { method: 'POST', target: '/mcp/weather?a=1', sessionId: 'the session' };
  const header = signVoucher(key, voucher, request, nowMs);
  const at = (ms: number) => ({ nowMs: ms, skewMs: 60_000 });

  it('says what was signed, for as long as clocks may be apart', () => {
    for (const ms of [nowMs, nowMs + 60_000, nowMs - 60_000]) {
      expect(readVoucher(key, header, request, at(ms))).toEqual(voucher);
    }
  });

  it.each([60_001, -60_001, 86_400_000])('says nothing %d ms away', (ms) => {
    expect(readVoucher(key, header, request, at(nowMs + ms))).toBeUndefined();
  });

  it.each([{ method: 'GET' }, { target: '/mcp/weather?a=2' }, { target: '/mcp/git?a=1' }, { sessionId: 'another' }])(
    'says nothing of another request: %j',
    (change) => {
      expect(readVoucher(key, header, { ...request, ...change }, at(nowMs))).toBeUndefined();
    },
  );

  it('says nothing under another key, nor with any one character changed', () => {
    expect(readVoucher(otherKey, header, request, at(nowMs))).toBeUndefined();
    for (let place = 0; place < header.length; place++) {
      if (header[place] === '.') continue;
      expect(readVoucher(key, bent(header, place), request, at(nowMs))).toBeUndefined();
    }
  });

  it.each([
    '',
    '.',
    '..',
    'a.b',
    'a.b.c',
    `${header}.`,
    `${header}.a`,
    header.slice(0, -1),
    header.split('.')[0] ?? '',
    '{}',
  ])('is not %j', (text) => {
    expect(readVoucher(key, text, request, at(nowMs))).toBeUndefined();
  });

  it('is no id of a session, and none is a voucher', () => {
    expect(isMintedSessionId(key, header)).toBe(false);
    expect(readVoucher(key, mintSessionId(key), request, at(nowMs))).toBeUndefined();
  });
});
