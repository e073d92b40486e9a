/** Names of the address of all servers: nobody else's, and each taken off as it was put on. */
import { describe, expect, it } from 'vitest';
import { serverIdPattern } from '../../src/core/scope.ts';
import { ownHeader, resultAmongAll } from '../../src/gateway/native/aggregate/content.ts';
import { nameAmongAll, ownName, ownUri, uriAmongAll, withoutPrefix } from '../../src/gateway/native/aggregate/names.ts';

const ids = ['a', '0', 'weather', 'two_b', 'two-b', 'a_', 'x'.repeat(63)];

const uris = [
  'file:///x',
  'file:///a/../b%2Fc',
  'https://User@Example.com:443/a b?q=1&r#frag',
  'urn:isbn:0451450523',
  'git+ssh://host/repo',
  'talos+other+file:///x',
  'test://[::1]/x',
  'no scheme at all',
  'two\nlines',
  'test://template/{id}/data{?q*}{#frag}',
  '{+anything}',
];

describe('a URI', () => {
  it.each(uris)('%j comes back as it was, of whichever server', (uri) => {
    for (const serverId of ids) {
      expect(serverIdPattern.test(serverId)).toBe(true);
      const named = uriAmongAll(serverId, uri);
      expect(ownUri(named)).toEqual({ serverId, uri });
      expect(withoutPrefix(serverId, named)).toBe(uri);
    }
  });

  it('of one server is never that of another', () => {
    const named = ids.flatMap((serverId) => uris.map((uri) => uriAmongAll(serverId, uri)));
    expect(new Set(named).size).toBe(named.length);
    expect(withoutPrefix('two-b', uriAmongAll('two_b', 'file:///x'))).toBe('talos+two.b+file:///x');
  });

  it.each([
    ['file:///x', 'file:///x'],
    ['https://example.com/a?q=1#f', 'https://example.com/a?q=1#f'],
    ['test://static-text', 'test://static-text'],
    ['urn:isbn:0451450523', 'urn:isbn:0451450523'],
  ])('%s stays one that parsers of URIs leave alone', (uri, own) => {
    for (const serverId of ids) expect(ownUri(new URL(uriAmongAll(serverId, uri)).href)?.uri).toBe(own);
  });

  it.each([
    '',
    'x',
    'file:///x',
    'talos+',
    'talos+a',
    'talos+a+',
    'talos++x',
    'talos+-a+x',
    'talos+A+x',
    'talos+a b+x',
    'Talos+a+x',
  ])('%j is none of this address', (uri) => {
    expect(ownUri(uri)).toBeUndefined();
  });
});

describe('a name', () => {
  it('comes back as it was, of the longest id that it can be of', () => {
    for (const serverId of ids) expect(ownName(nameAmongAll(serverId, 'x__y'), [serverId])).toEqual([serverId, 'x__y']);
    expect(ownName('a___x', ['a', 'a_'])).toEqual(['a_', 'x']);
    expect(ownName('a___x', ['a'])).toEqual(['a', '_x']);
  });

  it.each(['', 'a', 'a_x', '__x', 'b__x'])('%j is none of the servers that there are', (name) => {
    expect(ownName(name, ['a'])).toEqual([]);
  });
});

it('a result is as its server gave it, but for its URIs', () => {
  const odd = {
    contents: [1, null, { text: 'x' }],
    content: [{ type: 'resource' }, 'x', { type: 'text', uri: 'a:b' }],
  };
  expect(resultAmongAll('a', odd)).toEqual(odd);
  const messages = [{ role: 'user', content: [{ type: 'resource_link', uri: 'a:b' }] }, { role: 'user' }, 'x'];
  expect(resultAmongAll('a', { messages, structuredContent: { uri: 'a:b' }, uri: 'a:b' })).toEqual({
    messages: [{ role: 'user', content: [{ type: 'resource_link', uri: 'talos+a+a:b' }] }, { role: 'user' }, 'x'],
    structuredContent: { uri: 'a:b' },
    uri: 'a:b',
  });
});

it('a header that repeats an argument says the same as the argument', () => {
  const encoded = (text: string) => `=?base64?${Buffer.from(text).toString('base64')}?=`;
  expect(ownHeader('a', 'talos+a+x:y')).toBe('x:y');
  expect(ownHeader('a', encoded('talos+a+x:ä'))).toBe(encoded('x:ä'));
  expect(ownHeader('a', encoded('x:ä'))).toBe(encoded('x:ä'));
  expect(ownHeader('a', '=?base64?!?=')).toBe('=?base64?!?=');
  expect(ownHeader('a', undefined)).toBeUndefined();
});
