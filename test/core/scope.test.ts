import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  anyValue,
  formatScope,
  gatewayServer,
  parseScope,
  parseScopes,
  type Scope,
  type ScopeRequest,
  type ScopeValue,
  scopeCovers,
  scopeReaches,
  serverIdPattern,
} from '../../src/core/scope.ts';

function scope(text: string): Scope {
  const parsed = parseScope(text);
  if (parsed === undefined) throw new Error(`not a scope: ${text}`);
  return parsed;
}

const serverId = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,20}$/).filter((id) => serverIdPattern.test(id));
const name = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }).filter((text) => text.isWellFormed());
const value = fc.oneof({ weight: 4, arbitrary: name }, fc.constant(anyValue));
const anyScope: fc.Arbitrary<Scope> = fc.record(
  { server: fc.oneof(serverId, fc.constant(anyValue)), method: value, resource: value },
  { requiredKeys: ['server'] },
);

describe('parseScope', () => {
  it.each([
    ['tool:git', { server: 'git' }],
    ['tool:*', { server: anyValue }],
    ['tool:git/method:git_log', { server: 'git', method: 'git_log' }],
    ['tool:git/method:*', { server: 'git', method: anyValue }],
    ['tool:git/method:%2A', { server: 'git', method: '*' }],
    ['tool:fs/method:a%2Fb%3Ac%25', { server: 'fs', method: 'a/b:c%' }],
    ['tool:fs/method:lire un fichier é', { server: 'fs', method: 'lire un fichier é' }],
    ['tool:fs/method:read%20file', { server: 'fs', method: 'read file' }],
    [
      'tool:docs/method:rpc.resources.read/resource:file%3A%2F%2F%2Fa',
      {
        server: 'docs',
        method: 'rpc.resources.read',
        resource: 'file:///a',
      },
    ],
    ['tool:docs/resource:*', { server: 'docs', resource: anyValue }],
    ['tool:gateway/method:events.read', { server: 'gateway', method: 'events.read' }],
  ])('reads %s', (text, expected) => {
    expect(parseScope(text)).toEqual(expected);
  });

  it.each([
    '',
    'tool:',
    'tool',
    'git',
    'Tool:git',
    'tool:Git',
    'tool:git__log',
    'tool:-git',
    'tool:git ',
    ' tool:git',
    'tool:git/',
    'tool:git/method:',
    'tool:git/method',
    'tool:git/Method:a',
    'tool:git/method:a/method:b',
    'tool:git/resource:a/method:b',
    'tool:git/other:a',
    'tool:git/method:a:b',
    'tool:git/method:git_*',
    'tool:git/method:**',
    'tool:g*',
    'tool:git/method:%',
    'tool:git/method:%zz',
    'tool:git/method:%C3',
    'tool:%2A',
    'tool:a%2Fb',
    `tool:${'a'.repeat(64)}`,
    'tools/call',
    'tool:git\n',
  ])('refuses "%s"', (text) => {
    expect(parseScope(text)).toBeUndefined();
  });

  it('gives back what was formatted', () => {
    fc.assert(
      fc.property(anyScope, (given) => {
        expect(parseScope(formatScope(given))).toEqual(given);
      }),
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `tool:git/method:${text}`),
        ),
        (text) => {
          const parsed = parseScope(text);
          if (parsed !== undefined) expect(parseScope(formatScope(parsed))).toEqual(parsed);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('parseScopes', () => {
  it('reads a list, also where names hold blanks', () => {
    fc.assert(
      fc.property(fc.array(anyScope, { minLength: 1, maxLength: 4 }), (given) => {
        expect(parseScopes(given.map(formatScope).join(' '))).toEqual(given);
      }),
    );
  });

  it.each([
    '',
    ' ',
    'tool:git ',
    'tool:git  tool:weather',
    'tool:git,tool:weather',
    'tool:git weather',
    'tool:git tool:',
  ])('refuses "%s" as a whole', (text) => {
    expect(parseScopes(text)).toBeUndefined();
  });
});

describe('scopeCovers', () => {
  it.each<[string, ScopeRequest]>([
    ['tool:git', { server: 'git' }],
    ['tool:git', { server: 'git', method: 'git_log' }],
    ['tool:git', { server: 'git', method: 'rpc.resources.read', resource: 'file:///a' }],
    ['tool:*', { server: 'git', method: 'git_log' }],
    ['tool:*/method:git_log', { server: 'weather', method: 'git_log' }],
    ['tool:git/method:*', { server: 'git', method: 'git_log' }],
    ['tool:git/method:%2A', { server: 'git', method: '*' }],
    ['tool:git/resource:a', { server: 'git', method: 'b', resource: 'a' }],
    ['tool:gateway', { server: 'gateway', method: 'admin.keys' }],
    ['tool:gateway/method:events.read', { server: 'gateway', method: 'events.read' }],
  ])('%s covers %o', (text, request) => {
    expect(scopeCovers(scope(text), request)).toBe(true);
  });

  it.each<[string, ScopeRequest]>([
    ['tool:git', { server: 'weather', method: 'git_log' }],
    ['tool:git', { server: '', method: 'git_log' }],
    ['tool:git', { server: 'git', method: '' }],
    ['tool:*', { server: '' }],
    ['tool:git', { server: 'Git', method: 'git_log' }],
    ['tool:git', { server: 'git2', method: 'git_log' }],
    ['tool:git/method:git_log', { server: 'git', method: 'git_logs' }],
    ['tool:git/method:git_log', { server: 'git', method: 'git_lo' }],
    ['tool:git/method:git_log', { server: 'git', method: 'GIT_LOG' }],
    ['tool:git/method:git_log', { server: 'git' }],
    ['tool:git/method:*', { server: 'git' }],
    ['tool:git/method:%2A', { server: 'git', method: 'git_log' }],
    ['tool:git/method:read/resource:a', { server: 'git', method: 'read' }],
    ['tool:git/method:read/resource:a', { server: 'git', method: 'read', resource: 'a/b' }],
    ['tool:git/method:read/resource:*', { server: 'git', method: 'read' }],
    ['tool:*', { server: 'gateway', method: 'events.read' }],
    ['tool:*', { server: 'gateway', method: 'admin.keys' }],
    ['tool:*/method:events.read', { server: 'gateway', method: 'events.read' }],
    ['tool:gateway', { server: 'git', method: 'git_log' }],
  ])('%s does not cover %o', (text, request) => {
    expect(scopeCovers(scope(text), request)).toBe(false);
  });

  const literal = (granted: ScopeValue | undefined, fallback: string) =>
    typeof granted === 'string' ? granted : fallback;

  it('covers what it says (reflexive)', () => {
    fc.assert(
      fc.property(anyScope, serverId, name, name, (granted, server, method, resource) => {
        const request = {
          server: literal(granted.server, server === gatewayServer ? 'other' : server),
          method: literal(granted.method, method),
          resource: literal(granted.resource, resource),
        };
        expect(scopeCovers(granted, request)).toBe(true);
      }),
    );
  });

  const few = (...values: string[]) => fc.constantFrom(...values);
  const fewOrAny = (...values: string[]) => fc.constantFrom<ScopeValue>(anyValue, ...values);
  const smallScope = fc.record(
    { server: fewOrAny('a', 'b'), method: fewOrAny('m', 'n'), resource: fewOrAny('r', 's') },
    { requiredKeys: ['server'] },
  );
  const smallRequest = fc.record(
    { server: few('a', 'b'), method: few('m', 'n'), resource: few('r', 's') },
    { requiredKeys: ['server'] },
  );

  it('never covers less when a part is dropped or becomes a star (monotone)', () => {
    fc.assert(
      fc.property(smallScope, smallRequest, (granted, request) => {
        if (!scopeCovers(granted, request)) return;
        const { method: _method, ...withoutMethod } = granted;
        const { resource: _resource, ...withoutResource } = granted;
        const wider: Scope[] = [withoutMethod, withoutResource, { ...granted, server: anyValue }];
        if (granted.method !== undefined) wider.push({ ...granted, method: anyValue });
        if (granted.resource !== undefined) wider.push({ ...granted, resource: anyValue });
        for (const scope of wider) expect(scopeCovers(scope, request)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('scopeReaches', () => {
  it('asks for any grant on the server', () => {
    expect(scopeReaches(scope('tool:git/method:git_log'), 'git')).toBe(true);
    expect(scopeReaches(scope('tool:*/method:git_log'), 'git')).toBe(true);
    expect(scopeReaches(scope('tool:git/method:git_log'), 'weather')).toBe(false);
    expect(scopeReaches(scope('tool:*'), 'gateway')).toBe(false);
  });
});
