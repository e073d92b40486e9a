import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalisePath, pathArguments } from '../../src/policy/path-arguments.ts';

describe('normalisePath', () => {
  it.each([
    ['/docs/a.md', '/docs/a.md'],
    ['/docs//a.md', '/docs/a.md'],
    ['/docs/./a.md', '/docs/a.md'],
    ['/docs/', '/docs'],
    ['/', '/'],
    ['/docs/../etc/passwd', '/etc/passwd'],
    ['/docs/../../../etc', '/etc'],
    ['/docs/...', '/docs/...'],
    ['docs/a', 'docs/a'],
    ['./docs/a', 'docs/a'],
    ['docs/x/../a', 'docs/a'],
    ['docs/..', '.'],
    ['C:/docs/../x', 'C:/x'],
    ['/docs/50% done', '/docs/50% done'],
    ['/docs/größe', '/docs/größe'],
    ['~/a', '~/a'],
    ['file:///docs/a', '/docs/a'],
    ['FILE:///docs/a', '/docs/a'],
    ['file://localhost/docs/a', '/docs/a'],
    ['file:///docs/../etc', '/etc'],
    ['file:///docs/a%20b', '/docs/a b'],
    ['https://example.com/docs/../a', 'https://example.com/a'],
    ['HTTPS://EXAMPLE.com/a', 'https://example.com/a'],
    ['repo://team/a/./b', 'repo://team/a/b'],
    ['urn:isbn:0451450523', 'urn:isbn:0451450523'],
  ])('%s is %s', (given, expected) => {
    expect(normalisePath(given)).toBe(expected);
  });

  it.each([
    ['nothing', ''],
    ['an escape from a relative folder', '../etc/passwd'],
    ['a later escape', 'docs/../../etc'],
    ['a host or a root', '//server/share'],
    ['a backslash', 'docs\\..\\..\\etc'],
    ['a NUL', '/docs/a\0.md'],
    ['a line end', '/docs/a\n'],
    ['a blank before', ' /docs/a'],
    ['a blank after', '/docs/a '],
    ['encoded dots', '/docs/%2e%2e/etc'],
    ['encoded dots, upper case', '/docs/%2E%2E/etc'],
    ['an encoded slash', '/docs/..%2fetc'],
    ['an encoded backslash', '/docs/..%5Cetc'],
    ['an encoded per cent', '/docs/%252e%252e/etc'],
    ['an encoded NUL', '/docs/a%00'],
    ['encoded dots in a URI', 'file:///docs/%2e%2e/etc'],
    ['an encoded line end in a URI', 'file:///docs/%0aetc'],
    ['broken encoding in a URI', 'file:///docs/%C3'],
    ['a file on another host', 'file://server/docs/a'],
    ['a file URI without a root', 'file:docs/a'],
    ['a file URI with one slash', 'file:/docs/a'],
    ['a file URI with a host-like path', 'file:////server/a'],
    ['a query on a file', 'file:///docs/a?x'],
    ['a fragment on a file', 'file:///docs/a#x'],
    ['a user in a URI', 'https://example.com@evil.net/docs/a'],
    ['a user and password in a URI', 'https://a:b@example.com/docs/a'],
    ['a URI that is none', 'https://'],
    ['dots in a URI without a path', 'urn:a/../b'],
    ['a long text', `/${'a'.repeat(4_096)}`],
  ])('finds no normal form for %s', (_, given) => {
    expect(normalisePath(given)).toBeUndefined();
  });

  it('is its own normal form, and holds no dots', () => {
    const part = fc.constantFrom('a', 'b', '.', '..', '', 'a.b', '...');
    fc.assert(
      fc.property(fc.boolean(), fc.array(part, { maxLength: 8 }), (rooted, parts) => {
        const path = normalisePath((rooted ? '/' : '') + parts.join('/'));
        if (path === undefined) return;
        expect(normalisePath(path)).toBe(path);
        expect(path === '.' || !path.split('/').some((segment) => segment === '.' || segment === '..')).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl(),
          fc.string().map((text) => `file:///${text}`),
        ),
        (text) => {
          const path = normalisePath(text);
          expect(path === undefined || path.length > 0).toBe(true);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('pathArguments', () => {
  it('finds every path, at any depth and in lists', () => {
    const args = {
      path: '/a/../b',
      text: '/not/a/path',
      options: { file: 'c', nested: [{ uri: 'file:///d' }, { path: ['/e', '/f'] }] },
    };
    expect(pathArguments(args)).toEqual(['/b', 'c', '/d', '/e', '/f']);
  });

  it('finds the names that the registry adds', () => {
    const args = { source: '/a', destination: '/b' };
    expect(pathArguments(args)).toEqual([]);
    expect(pathArguments(args, ['source', 'destination'])).toEqual(['/a', '/b']);
  });

  it.each([
    ['a number', { path: 7 }],
    ['a null', { path: null }],
    ['an object', { path: { file: '/a' } }],
    ['a list with a number', { path: ['/a', 7] }],
    ['a list in a list', { path: [['/a']] }],
    ['one path that has no normal form', { path: '/a', file: '../b' }],
    ['a deep one that has none', { path: '/a', options: [{ uri: '//b' }] }],
    ['too many', { path: Array.from({ length: 65 }, () => '/a') }],
  ])('gives up on %s', (_, args) => {
    expect(pathArguments(args)).toBeUndefined();
  });
});
