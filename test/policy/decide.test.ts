import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { anonymous } from '../../src/core/principal.ts';
import type { ScopeRequest } from '../../src/core/scope.ts';
import type { Authority } from '../../src/policy/authority.ts';
import { constraintFault, constraintNames, type ToolFacts } from '../../src/policy/constraints.ts';
import {
  type Asker,
  type Decision,
  decideAction,
  decideByName,
  decideCall,
  decideReach,
  type PolicyMode,
} from '../../src/policy/decide.ts';
import { authorityOf } from '../support/authority.ts';

const production: PolicyMode = { development: false, requireCapability: false };
const development: PolicyMode = { development: true, requireCapability: false };
const strictDevelopment: PolicyMode = { development: true, requireCapability: true };

/** A caller that brings nothing but a capability, or not even that. */
const by = (authority: Authority | undefined): Asker => ({ principal: anonymous, authority });

const hashOf = (digit: string) => `sha256:${digit.repeat(64)}`;
const readTool: ToolFacts = { class: 'read', schemaHash: hashOf('a'), definitionHash: hashOf('b') };
const call: ScopeRequest = { server: 'weather', method: 'get_forecast' };

/** Both steps, as a corridor takes them, in production. */
async function decide(
  given: { scope?: string; constraints?: JsonObject; request?: ScopeRequest; tool?: ToolFacts; args?: JsonObject },
  mode = production,
): Promise<Decision> {
  const authority = await authorityOf(given.scope ?? 'tool:weather', given.constraints);
  const byName = decideByName(given.request ?? call, by(authority), mode);
  return byName.allow ? decideCall(byName, given.tool ?? readTool, given.args ?? {}) : byName;
}

const refusal = (detail: string) => ({ allow: false, denial: { reason: 'SCOPE_MISMATCH', detail } });

describe('without a capability', () => {
  it('denies in production', () => {
    expect(decideByName(call, by(undefined), production)).toMatchObject({ denial: { reason: 'NO_CAPABILITY' } });
    expect(decideReach('weather', by(undefined), production)).toMatchObject({ denial: { reason: 'NO_CAPABILITY' } });
    expect(decideAction('events.read', 'read', by(undefined), production)).toMatchObject({ allow: false });
  });

  it('denies in production, whatever else is set', () => {
    expect(decideByName(call, by(undefined), { development: false, requireCapability: true }).allow).toBe(false);
  });

  it('denies in development when one is demanded', () => {
    expect(decideByName(call, by(undefined), strictDevelopment)).toMatchObject({ denial: { reason: 'NO_CAPABILITY' } });
  });

  it('lets through in development', () => {
    const byName = decideByName(call, by(undefined), development);
    expect(byName).toEqual({ allow: true });
    if (byName.allow) expect(decideCall(byName, { class: 'unclassified' }, {})).toEqual({ allow: true });
    expect(decideAction('events.write', 'write', by(undefined), development)).toEqual({ allow: true });
  });
});

describe('with a capability', () => {
  it('allows what its scope covers and says by which authority', async () => {
    const authority = await authorityOf('tool:weather/method:get_forecast');
    expect(decideByName(call, by(authority), production)).toEqual({ allow: true, authority });
  });

  it('allows when one of several scopes covers', async () => {
    expect(await decide({ scope: 'tool:git tool:weather/method:get_forecast' })).toMatchObject({ allow: true });
    expect(await decide({ scope: 'tool:git tool:weather/method:other' })).toMatchObject(refusal('scope'));
  });

  it.each<[string, ScopeRequest]>([
    ['tool:weather/method:get_forecast', { server: 'weather', method: 'get_alerts' }],
    ['tool:weather', { server: 'git', method: 'get_forecast' }],
    ['tool:weather', { server: 'weather', method: '' }],
    ['tool:weather', { server: '', method: 'get_forecast' }],
    ['tool:*', { server: 'gateway', method: 'events.read' }],
  ])('%s refuses %o in every mode', async (scope, request) => {
    for (const mode of [production, development, strictDevelopment]) {
      expect(await decide({ scope, request }, mode)).toMatchObject(refusal('scope'));
    }
  });
});

describe('constraints', () => {
  const docs = { paths: ['/docs/**'] };

  it.each<[string, JsonObject, JsonObject]>([
    ['server', { server: 'weather' }, {}],
    ['tool, which is the server', { tool: 'weather' }, {}],
    ['method', { method: 'get_forecast' }, {}],
    ['allowed_tools', { allowed_tools: ['other', 'get_forecast'] }, {}],
    ['bearer', { bearer: true }, {}],
    ['read_only', { read_only: true }, {}],
    ['read_only, off', { read_only: false }, {}],
    ['team_id and nbf', { team_id: 'red', nbf: 1 }, {}],
    ['schema_hash', { schema_hash: hashOf('a') }, {}],
    ['definition_hash', { definition_hash: hashOf('b') }, {}],
    ['paths', docs, { path: '/docs/a' }],
    ['paths, as one text', { paths: '/docs/**' }, { path: '/docs/a' }],
    ['paths, several', { paths: ['/x/*', '/docs/**'] }, { path: '/docs/a', file: '/x/y' }],
    ['paths, by URI', docs, { uri: 'file:///docs/a' }],
    ['paths, the glob a URI', { paths: ['file:///docs/**'] }, { path: '/docs/a' }],
    ['paths, after normalising', docs, { path: '/docs/b/../a' }],
    ['all of them', { ...docs, tool: 'weather', method: 'get_forecast', read_only: true }, { path: '/docs/a' }],
  ])('%s can be met', async (_, constraints, args) => {
    expect(await decide({ constraints, args })).toMatchObject({ allow: true });
  });

  it.each<[string, JsonObject, JsonObject]>([
    ['server', { server: 'git' }, {}],
    ['tool', { tool: 'git' }, {}],
    ['tool', { tool: 'get_forecast' }, {}],
    ['tool', { tool: '*' }, {}],
    ['method', { method: 'get' }, {}],
    ['method', { method: 'GET_FORECAST' }, {}],
    ['schema_hash', { schema_hash: hashOf('c') }, {}],
    ['definition_hash', { definition_hash: hashOf('a') }, {}],
    ['paths', docs, {}],
    ['paths', docs, { city: '/docs/a' }],
    ['paths', docs, { path: '/etc/passwd' }],
    ['paths', docs, { path: '/docs/../etc/passwd' }],
    ['paths', docs, { path: 'docs/a' }],
    ['paths', docs, { path: '/docs/a', file: '/etc/passwd' }],
    ['paths', docs, { path: ['/docs/a', '/etc/passwd'] }],
    ['paths', docs, { path: '/docs/a', options: { uri: 'file:///etc/passwd' } }],
    ['paths', docs, { path: '/docs/%2e%2e/etc' }],
    ['paths', docs, { path: 7 }],
    ['paths', { paths: ['https://example.com/**'] }, { uri: 'https://example.com@evil.net/' }],
  ])('%s refuses: %o, called with %o', async (name, constraints, args) => {
    expect(await decide({ constraints, args })).toMatchObject(refusal(`constraint:${name}`));
  });

  it.each<ToolFacts>([{ class: 'write' }, { class: 'unclassified' }])(
    'read_only refuses a tool of %o',
    async (tool) => {
      expect(await decide({ constraints: { read_only: true }, tool })).toMatchObject(refusal('constraint:read_only'));
    },
  );

  it('paths covers the arguments that the registry names', async () => {
    const tool: ToolFacts = { class: 'write', pathArguments: ['destination'] };
    const args = { path: '/docs/a', destination: '/etc/a' };
    expect(await decide({ constraints: docs, tool, args })).toMatchObject(refusal('constraint:paths'));
  });

  it('refuses when any one of several is not met', async () => {
    const constraints = { ...docs, method: 'get_forecast', read_only: true };
    const args = { path: '/docs/a' };
    expect(await decide({ constraints, args })).toMatchObject({ allow: true });
    expect(await decide({ constraints: { ...constraints, server: 'git' }, args })).toMatchObject({ allow: false });
    expect(await decide({ constraints, args: { path: '/x' } })).toMatchObject({ allow: false });
    expect(await decide({ constraints, args, tool: { class: 'write' } })).toMatchObject({ allow: false });
  });

  it.each([
    { rate_limits: '100/hour' },
    { Paths: ['/docs/**'] },
    { '': true },
    { region: 'eu' },
    JSON.parse('{"__proto__":true}') as JsonObject,
    JSON.parse('{"constructor":true}') as JsonObject,
  ])('an unknown one refuses by name: %j', async (constraints) => {
    expect(await decide({ constraints })).toMatchObject(refusal('constraint_unknown'));
  });

  it.each([['other'], ['*']])('refuses a tool that is not on the list of %s as one that nobody knows', async (name) => {
    expect(await decide({ constraints: { allowed_tools: [name] } })).toMatchObject({
      allow: false,
      denial: { reason: 'UNKNOWN_TOOL', detail: 'constraint:allowed_tools' },
    });
  });

  it('refuses an input_schema that nobody can compile', () => {
    expect(constraintFault('input_schema', {})).toBe('constraint_unsupported:input_schema');
  });

  it('leaves the proof of possession to whoever knows the caller', async () => {
    expect((await authorityOf('tool:weather', { bearer: false })).capability.requiresPossession).toBe(true);
    expect((await authorityOf('tool:weather', { bearer: true })).capability.requiresPossession).toBe(false);
  });

  it.each<[string, JsonValue]>([
    ['server', ''],
    ['server', ['weather']],
    ['tool', 7],
    ['method', true],
    ['method', {}],
    ['method', 'x'.repeat(257)],
    ['bearer', 'false'],
    ['rate_limit', 100],
    ['rate_limit', '100'],
    ['rate_limit', '0/hour'],
    ['rate_limit', '100/fortnight'],
    ['rate_limit', '1.5/hour'],
    ['max_calls', 0],
    ['max_calls', '5'],
    ['max_calls', -1],
    ['input_schema', true],
    ['input_schema', 'string'],
    ['input_schema', { type: 'nonsense' }],
    ['input_schema', { $ref: 'https://example.com/schema.json' }],
    ['input_schema', { $schema: 'https://example.com/dialect' }],
    ['input_schema', { maxLenght: 5 }],
    ['input_schema', { properties: { a: { format: 'email' } } }],
    ['input_schema', { properties: { a: { pattern: '^(a+)+$' } } }],
    ['input_schema', { properties: { a: { pattern: '(' } } }],
    ['input_schema', { $async: true }],
    ['allowed_tools', []],
    ['allowed_tools', 'get_forecast'],
    ['allowed_tools', ['get_forecast', 7]],
    ['allowed_tools', ['']],
    ['allowed_tools', Array.from({ length: 257 }, () => 'get_forecast')],
    ['bearer', 'false'],
    ['read_only', 'true'],
    ['read_only', 0],
    ['schema_hash', 'a'.repeat(64)],
    ['schema_hash', hashOf('A')],
    ['definition_hash', 7],
    ['paths', []],
    ['paths', {}],
    ['paths', ['/docs/../**']],
    ['paths', ['/docs**']],
    ['paths', ['']],
    ['paths', ['/docs/**', 7]],
    ['paths', Array.from({ length: 33 }, () => '/docs/**')],
    ['paths', [`/${'a'.repeat(512)}`]],
  ])('%s refuses a value that it cannot have: %j', async (name, value) => {
    const decision = await decide({ constraints: { [name]: value }, args: { path: '/docs/a' } });
    expect(decision).toMatchObject(refusal(`constraint_malformed:${name}`));
  });

  it('refuses by name already when a constraint can never be met, before the catalog is asked', async () => {
    const authority = await authorityOf('tool:weather', { paths: [] });
    expect(decideByName(call, by(authority), production).allow).toBe(false);
  });

  it('are those of the documentation', async () => {
    const page = await readFile(resolve(import.meta.dirname, '../../docs/capabilities.md'), 'utf8');
    const section = page.slice(page.indexOf('## Constraints'), page.indexOf('### Paths'));
    const rows = section.split('\n').flatMap((line) => /^\| (`.*?`) \|/.exec(line)?.[1] ?? []);
    const documented = rows.flatMap((row) => [...row.matchAll(/`(\w+)`/g)].map((match) => match[1]));
    expect(documented.sort()).toEqual([...constraintNames].sort());
  });
});

describe('decideAction', () => {
  it('allows an action that is granted by name, or with the whole gateway', async () => {
    for (const scope of ['tool:gateway/method:events.read', 'tool:gateway', 'tool:gateway/method:*']) {
      expect(decideAction('events.read', 'read', by(await authorityOf(scope)), production)).toMatchObject({
        allow: true,
      });
    }
  });

  it.each(['tool:gateway/method:events.write', 'tool:*', 'tool:*/method:events.read', 'tool:events', 'tool:weather'])(
    'refuses to read events with %s',
    async (scope) => {
      const authority = await authorityOf(scope);
      expect(decideAction('events.read', 'read', by(authority), production)).toMatchObject(refusal('scope'));
      expect(decideAction('events.read', 'read', by(authority), development)).toMatchObject(refusal('scope'));
    },
  );

  it.each<[string, JsonObject]>([
    ['paths', { paths: ['/**'] }],
    ['schema_hash', { schema_hash: hashOf('a') }],
    ['read_only', { read_only: true }],
  ])('refuses a write that %s cannot allow', async (name, constraints) => {
    const authority = await authorityOf('tool:gateway', constraints);
    expect(decideAction('events.write', 'write', by(authority), production)).toMatchObject(
      refusal(`constraint:${name}`),
    );
  });

  it('allows a read to a capability that only reads', async () => {
    const authority = await authorityOf('tool:gateway', { read_only: true });
    expect(decideAction('events.read', 'read', by(authority), production)).toMatchObject({ allow: true });
  });
});

describe('decideReach', () => {
  it('asks for any grant on the server', async () => {
    const authority = await authorityOf('tool:weather/method:get_forecast');
    expect(decideReach('weather', by(authority), production)).toEqual({ allow: true, authority });
    expect(decideReach('git', by(authority), production)).toMatchObject(refusal('scope'));
    expect(decideReach('git', by(authority), development)).toMatchObject(refusal('scope'));
    expect(decideReach('gateway', by(await authorityOf('tool:*')), production)).toMatchObject(refusal('scope'));
  });
});
