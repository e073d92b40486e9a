import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGlob, globMatches } from '../../src/core/glob.ts';

function matches(pattern: string, path: string): boolean {
  const glob = compileGlob(pattern);
  if (glob === undefined) throw new Error(`not a glob: ${pattern}`);
  return globMatches(glob, path);
}

describe('globMatches', () => {
  it.each([
    ['/docs/a.md', '/docs/a.md'],
    ['/docs/*', '/docs/a.md'],
    ['/docs/*', '/docs/.hidden'],
    ['/docs/*.md', '/docs/a.md'],
    ['/docs/*.md', '/docs/.md'],
    ['/docs/?.md', '/docs/a.md'],
    ['/docs/**', '/docs'],
    ['/docs/**', '/docs/a'],
    ['/docs/**', '/docs/a/b/c'],
    ['/docs/**/c', '/docs/c'],
    ['/docs/**/c', '/docs/a/b/c'],
    ['/docs/**/b/**/c', '/docs/a/b/x/b/y/c'],
    ['/**', '/'],
    ['**', 'a/b'],
    ['**', '/a/b'],
    ['docs/**', 'docs/a'],
    ['https://example.com/docs/**', 'https://example.com/docs/a'],
    ['/docs/[a]', '/docs/[a]'],
    ['/docs/{a,b}', '/docs/{a,b}'],
    ['/a*b*c', '/aXbXbXc'],
  ])('%s matches %s', (pattern, path) => {
    expect(matches(pattern, path)).toBe(true);
  });

  it.each([
    ['/docs/*', '/docs'],
    ['/docs/*', '/docs/a/b'],
    ['/docs/*', '/doc/a'],
    ['/docs/*', 'docs/a'],
    ['docs/**', '/docs/a'],
    ['/docs/**', '/docsx'],
    ['/docs/**', '/docs2/a'],
    ['/docs/**', '/'],
    ['/docs/**/c', '/docs/a/cc'],
    ['/docs/*.md', '/docs/a.mdx'],
    ['/docs/*.md', '/docs/a/b.md'],
    ['/docs/?.md', '/docs/ab.md'],
    ['/docs/?.md', '/docs/.md'],
    ['/docs/[ab]', '/docs/a'],
    ['/docs/{a,b}', '/docs/a'],
    ['/Docs/*', '/docs/a'],
    ['/*', '/'],
    ['/', '/a'],
    ['a', 'b'],
    ['a', 'aa'],
    ['aa', 'a'],
    ['https://example.com/**', 'https://example.com.evil.net/a'],
    ['https://example.com/**', 'http://example.com/a'],
  ])('%s does not match %s', (pattern, path) => {
    expect(matches(pattern, path)).toBe(false);
  });

  it('agrees with the regular expression that says the same', () => {
    const segment = fc.constantFrom('a', 'b', 'ab', '*', 'a*', '*b', '?', '**', 'a?b*');
    const path = fc.array(fc.constantFrom('a', 'b', 'ab', 'aab', 'abb', 'ba'), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), path, (pattern, segments) => {
        expect(matches(pattern.join('/'), segments.join('/'))).toBe(asRegExp(pattern).test(`${segments.join('/')}/`));
      }),
      { numRuns: 3_000 },
    );
  });

  it('is not slowed down by many stars', () => {
    const started = process.cpuUsage().user;
    expect(matches(`/${'a*'.repeat(120)}b`, `/${'a'.repeat(4_000)}`)).toBe(false);
    expect(matches(`${'**/a/'.repeat(60)}b`, 'a/'.repeat(2_000))).toBe(false);
    expect(process.cpuUsage().user - started).toBeLessThan(1_000_000);
  });
});

// Written on segments that each end in a slash, which makes the globstar a plain repetition.
function asRegExp(pattern: readonly string[]): RegExp {
  const parts = pattern.map((segment) =>
    segment === '**' ? '(?:[^/]+/)*' : `${segment.replaceAll('*', '[^/]*').replaceAll('?', '[^/]')}/`,
  );
  return new RegExp(`^${parts.join('')}$`);
}

describe('compileGlob', () => {
  it.each(['', '/a/../b', '..', './a', 'a/.', '/a**', '/**a/b', '/***', 'a\\b', 'a\0', 'a\nb'])(
    'refuses %j',
    (pattern) => {
      expect(compileGlob(pattern)).toBeUndefined();
    },
  );
});
