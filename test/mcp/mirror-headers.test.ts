import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { encodeHeaderValue } from '../../src/mcp/protocol/era.ts';
import { contradictingMirror, mirrorHeaders, mirrorsOf } from '../../src/mcp/protocol/mirror-headers.ts';

function headersFor(properties: JsonObject, args: JsonObject): string[] {
  return mirrorHeaders(mirrorsOf({ type: 'object', properties }), args);
}

describe('mirrored arguments', () => {
  it('are found at any depth of properties', () => {
    const properties = {
      region: { type: 'string', 'x-mcp-header': 'Region' },
      where: { type: 'object', properties: { zone: { type: 'integer', 'x-mcp-header': 'Zone' } } },
      dry: { type: 'boolean', 'x-mcp-header': 'Dry' },
    };
    const args = { region: 'eu', where: { zone: 3 }, dry: false };
    expect(headersFor(properties, args)).toEqual([
      'mcp-param-Region',
      'eu',
      'mcp-param-Zone',
      '3',
      'mcp-param-Dry',
      'false',
    ]);
  });

  it.each<[string, JsonObject, JsonObject]>([
    ['absent', { a: { type: 'string', 'x-mcp-header': 'A' } }, {}],
    ['null', { a: { type: 'string', 'x-mcp-header': 'A' } }, { a: null }],
    ['an object', { a: { type: 'string', 'x-mcp-header': 'A' } }, { a: {} }],
    ['inherited', { constructor: { type: 'string', 'x-mcp-header': 'A' } }, {}],
    ['a fraction', { a: { type: 'integer', 'x-mcp-header': 'A' } }, { a: 1.5 }],
    ['declared for a number', { a: { type: 'number', 'x-mcp-header': 'A' } }, { a: 1 }],
    ['declared with a name that is no token', { a: { type: 'string', 'x-mcp-header': 'A: b\r\nX' } }, { a: 'x' }],
    ['declared with no name', { a: { type: 'string', 'x-mcp-header': '' } }, { a: 'x' }],
    [
      'declared inside an array',
      { a: { type: 'array', items: { type: 'string', 'x-mcp-header': 'A' } } },
      { a: ['x'] },
    ],
  ])('have no header when %s', (_, properties, args) => {
    expect(headersFor(properties, args)).toEqual([]);
  });
});

describe('contradictingMirror', () => {
  const mirrors = mirrorsOf({
    properties: { a: { type: 'string', 'x-mcp-header': 'Region' }, n: { type: 'integer', 'x-mcp-header': 'N' } },
  });
  const judge = (args: JsonObject, headers: Readonly<Record<string, string>>) =>
    contradictingMirror(mirrors, args, (name) => headers[name]);

  it.each<[JsonObject, Record<string, string>]>([
    [{}, {}],
    [{ a: null }, {}],
    [{ a: 'x' }, { 'mcp-param-region': 'x' }],
    [{ a: 'é' }, { 'mcp-param-region': '=?base64?w6k=?=' }],
    [{ a: 'x' }, { 'mcp-param-region': '=?base64?eA==?=' }],
    [{ n: 5 }, { 'mcp-param-n': '5' }],
  ])('finds none for %j with %j', (args, headers) => {
    expect(judge(args, headers)).toBeUndefined();
  });

  it.each<[JsonObject, Record<string, string>]>([
    [{ a: 'x' }, {}],
    [{ a: 'x' }, { 'mcp-param-region': 'y' }],
    [{ a: 'x' }, { 'mcp-param-region': 'X' }],
    [{}, { 'mcp-param-region': 'x' }],
    [{}, { 'mcp-param-region': '' }],
    [{}, { 'mcp-param-region': '=?base64?!?=' }],
    [{ a: 'x' }, { 'mcp-param-region': '=?base64?eA?=' }],
    [{ a: 'x' }, { 'mcp-param-region': '=?base64?eA=?=' }],
    [{ a: 'x' }, { 'mcp-param-region': '=?base64?e$==?=' }],
    [{ a: '\ufffd' }, { 'mcp-param-region': '=?base64?/w==?=' }],
  ])('finds the one of %j with %j', (args, headers) => {
    expect(judge(args, headers)).toBe('Mcp-Param-Region');
  });
});

describe('encodeHeaderValue', () => {
  it.each(['a', 'read_file', 'a b\tc', 'a/b:c.d', '=?utf-8?x?='])('keeps %j', (value) => {
    expect(encodeHeaderValue(value)).toBe(value);
  });

  it.each(['', ' a', 'a ', 'é', '名前', 'a\r\nX: y', 'a\0', '=?base64?YQ==?='])('encodes %j', (value) => {
    const encoded = encodeHeaderValue(value);
    expect(encoded).toMatch(/^=\?base64\?[A-Za-z0-9+/=]*\?=$/);
    expect(Buffer.from(encoded.slice(9, -2), 'base64').toString('utf8')).toBe(value);
  });
});
