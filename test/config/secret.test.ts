import { format, inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Secret, secretRecord } from '../../src/config/secret.ts';

const value = 'correct-horse-battery';

describe('Secret', () => {
  const secret = new Secret(value);

  it.each([
    ['String()', () => String(secret)],
    ['a template', () => `${secret}`],
    ['concatenation', () => ['', secret].join('x')],
    ['JSON', () => JSON.stringify({ secret })],
    ['inspect', () => inspect(secret)],
    ['inspect of an object around it', () => inspect({ deep: { secret } }, { depth: 9, showHidden: true })],
    ['format %s %o %j', () => format('%s %o %j', secret, secret, secret)],
    ['an error message', () => new Error(`bad ${secret}`).message],
    ['own keys and values', () => JSON.stringify([Object.entries(secret), Reflect.ownKeys(secret)])],
    ['a copy', () => JSON.stringify(structuredClone({ ...secret }))],
  ])('does not show itself through %s', (_, show) => {
    expect(show()).not.toContain(value);
  });

  it('shows a mask in its place', () => {
    expect(`${secret} ${JSON.stringify(secret)} ${inspect(secret)}`).toBe('[secret] "[secret]" [secret]');
  });

  it('gives the value to whoever asks by name', () => {
    expect(secret.reveal()).toBe(value);
  });

  it('equals the same value only', () => {
    expect(secret.equals(value)).toBe(true);
    for (const other of ['', value.slice(1), `${value} `, value.toUpperCase(), '[secret]']) {
      expect(secret.equals(other)).toBe(false);
    }
  });

  it('cannot be empty', () => {
    expect(() => new Secret('')).toThrow(RangeError);
  });
});

describe('secretRecord', () => {
  const record = secretRecord({ Authorization: value });

  it.each([
    ['JSON', () => JSON.stringify({ record })],
    ['inspect', () => inspect({ record })],
    ['format', () => format('%o', record)],
  ])('does not show values through %s', (_, show) => {
    expect(show()).not.toContain(value);
  });

  it('reads like any other record and hands nothing else to a loop', () => {
    const plain = secretRecord({ A: '1', B: '2' });
    const seen: string[] = [];
    for (const name in plain) seen.push(name);
    expect(seen).toEqual(['A', 'B']);
    expect({ ...plain }).toEqual({ A: '1', B: '2' });
  });

  it('cannot be changed', () => {
    expect(() => Object.assign(record, { Authorization: 'other' })).toThrow(TypeError);
  });
});
