import { describe, expect, it } from 'vitest';
import { boundedPattern, shapeOf } from '../../src/mcp/tools/schema-pattern.ts';

describe('shapeOf', () => {
  it.each([
    ['^abc$', 0],
    ['^a{3}$', 0],
    ['^[a-z]+$', 1],
    ['^[^@]+@[^@]+\\.[a-z]{2,}$', 3],
    ['^(abc)+$', 1],
    ['\\(+', 1],
    ['[+*(]', 0],
    ['a{', 0],
    ['(?<year>\\d{4})-(?:\\d+)', 1],
  ])('counts what varies in %s', (source, varying) => {
    expect(shapeOf(source)).toEqual({ nested: false, varying });
  });

  it.each([
    '(a+)+$',
    '(a|a)*$',
    '(a|aa)+',
    '((a)*)*',
    '(?:x+x+)+y',
    '([a-z]+)*',
    '(a?){30}',
    '(?<n>a*){2,}',
    '(a{1,9}){9}',
    'a?'.repeat(30),
    '((ab?)c)+',
  ])('sees that %s may double with every character', (source) => {
    expect(shapeOf(source).nested).toBe(true);
  });
});

describe('boundedPattern', () => {
  it('matches as the expression does', () => {
    const pattern = boundedPattern('^[a-z]+$', 4_096);
    expect([pattern.test('abc'), pattern.test('ABC'), pattern.test('')]).toEqual([true, false, false]);
  });

  it('counts characters, not code units', () => {
    expect(boundedPattern('^.$', 4_096).test('😀')).toBe(true);
  });

  it('reads expressions that are none under Unicode rules', () => {
    expect(boundedPattern('^\\-$', 4_096).test('-')).toBe(true);
  });

  it('throws for what is no expression', () => {
    expect(() => boundedPattern('(', 4_096)).toThrow(SyntaxError);
  });

  it.each([
    ['(a+)+$', `${'a'.repeat(16)}b`],
    ['(a+)+$', `${'a'.repeat(50_000)}b`],
    ['(a|aa)+$', `${'a'.repeat(1_000)}b`],
    ['^(\\w+\\s?)*$', `${'a'.repeat(1_000)}!`],
    ['a*a*a*a*b', 'a'.repeat(4_096)],
    ['x*y', 'x'.repeat(4_096)],
    ['a?'.repeat(30) + 'a'.repeat(30), 'a'.repeat(29)],
  ])('is done with %s soon', (source, subject) => {
    const started = performance.now();
    boundedPattern(source, 4_096).test(subject);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('checks short subjects of dangerous expressions, and lets long ones pass', () => {
    const pattern = boundedPattern('^(a+)+$', 4_096);
    expect([pattern.test('aaa'), pattern.test('aab'), pattern.test('b'.repeat(17))]).toEqual([true, false, true]);
  });

  it('has a text of its own, by which compilers tell patterns apart', () => {
    expect(String(boundedPattern('a', 9))).not.toBe(String(boundedPattern('b', 9)));
  });
});
