import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { answerOf, MessageFault, readMessage, type Strictness } from '../../src/mcp/protocol/json-rpc.ts';

const raw = Buffer.from('raw');

function answer(message: JsonObject, strictness: Strictness = 'strict') {
  return answerOf(message, raw, 7, strictness);
}

describe('readMessage', () => {
  it('parses an object', () => {
    expect(readMessage(Buffer.from('{"ä":1}'), 10)).toEqual({ ä: 1 });
  });

  it.each([
    ['broken JSON', '{"a":'],
    ['nothing', ''],
    ['an array', '[{}]'],
    ['null', 'null'],
    ['text', '"x"'],
    ['HTML', '<html></html>'],
    ['two values', '{}{}'],
  ])('refuses %s', (_, text) => {
    expect(() => readMessage(Buffer.from(text), 10)).toThrow(MessageFault);
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(() => readMessage(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 10)).toThrow('not valid UTF-8');
  });

  it('refuses what would overflow the stack of whoever serialises it', () => {
    const deep = `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
    expect(() => readMessage(Buffer.from(deep), 256)).toThrow('nested too deeply');
  });
});

describe('answerOf', () => {
  it('gives the result', () => {
    expect(answer({ jsonrpc: '2.0', id: 7, result: { a: 1 } })).toEqual({ kind: 'result', result: { a: 1 }, raw });
  });

  it('takes an error of null for no error', () => {
    expect(answer({ jsonrpc: '2.0', id: 7, result: {}, error: null })).toMatchObject({ kind: 'result' });
  });

  it('gives the error, also beside a result of null', () => {
    const error = { code: -1, message: 'm', data: [1] };
    expect(answer({ jsonrpc: '2.0', id: 7, error, result: null })).toEqual({ kind: 'error', error, raw });
  });

  it('accepts an error to a request that the server could not read', () => {
    expect(answer({ jsonrpc: '2.0', id: null, error: { code: -32_700, message: 'Parse error' } }).kind).toBe('error');
  });

  it.each<[string, JsonObject]>([
    ['another id', { jsonrpc: '2.0', id: 8, result: {} }],
    ['the id as text', { jsonrpc: '2.0', id: '7', result: {} }],
    ['no id', { jsonrpc: '2.0', result: {} }],
    ['a result for the id null', { jsonrpc: '2.0', id: null, result: {} }],
    ['another version', { jsonrpc: '1.0', id: 7, result: {} }],
    ['no version', { id: 7, result: {} }],
    ['a request', { jsonrpc: '2.0', id: 7, method: 'ping' }],
    ['neither result nor error', { jsonrpc: '2.0', id: 7 }],
    ['a result that is no object', { jsonrpc: '2.0', id: 7, result: 'text' }],
    ['a result that is an array', { jsonrpc: '2.0', id: 7, result: [] }],
    ['a result of null', { jsonrpc: '2.0', id: 7, result: null }],
    ['an error that is text', { jsonrpc: '2.0', id: 7, error: 'failed' }],
    ['an error without a code', { jsonrpc: '2.0', id: 7, error: { message: 'm' } }],
    ['an error without a message', { jsonrpc: '2.0', id: 7, error: { code: 1 } }],
    ['an error whose code is text', { jsonrpc: '2.0', id: 7, error: { code: 'X', message: 'm' } }],
  ])('refuses %s', (_, message) => {
    expect(() => answer(message)).toThrow(MessageFault);
  });

  it('lets a bare server leave the version out and name its errors with words', () => {
    expect(answer({ id: 7, result: {} }, 'lenient').kind).toBe('result');
    expect(answer({ id: 7, error: { code: 'NO_MODEL', message: 'none' } }, 'lenient')).toMatchObject({
      error: { code: -32_000, message: 'none', data: { code: 'NO_MODEL' } },
    });
  });

  it('holds a bare server to everything else', () => {
    expect(() => answer({ jsonrpc: '1.0', id: 7, result: {} }, 'lenient')).toThrow('not JSON-RPC 2.0');
    expect(() => answer({ id: 8, result: {} }, 'lenient')).toThrow('a response to another request');
    expect(() => answer({ id: 7, error: 'failed' }, 'lenient')).toThrow('an error that is no object');
  });
});
