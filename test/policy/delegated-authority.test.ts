/** What a chain allows: never more than any of its links. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isDenial } from '../../src/core/denial.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { anonymous } from '../../src/core/principal.ts';
import { anyValue, formatScope, parseScope, type Scope, scopeCovers, scopeWithin } from '../../src/core/scope.ts';
import type { Authority } from '../../src/policy/authority.ts';
import type { ToolFacts } from '../../src/policy/constraints.ts';
import { type Decision, decideByName, decideCall } from '../../src/policy/decide.ts';
import { authorityOfToken, standingClock, verifierAt } from '../support/authority.ts';
import { childToken, holders, rootToken } from '../support/delegation.ts';

const production = { development: false, requireCapability: true };
const readTool: ToolFacts = { class: 'read' };
const [first, second] = holders;

function decide(authority: Authority, call: { method?: string; tool?: ToolFacts; args?: JsonObject } = {}): Decision {
  const request = { server: 'weather', method: call.method ?? 'get_forecast' };
  const byName = decideByName(request, { principal: anonymous, authority }, production);
  return byName.allow ? decideCall(byName, call.tool ?? readTool, call.args ?? {}) : byName;
}

function child(ofRoot: JsonObject, ofChild: JsonObject): Promise<Authority> {
  return authorityOfToken(childToken(first, [rootToken({ constraints: ofRoot })], { constraints: ofChild }));
}

describe('the constraints of every link', () => {
  it.each<[string, JsonObject, Parameters<typeof decide>[1]]>([
    ['paths', { paths: ['/docs/**'] }, { args: { path: '/etc/passwd' } }],
    ['read_only', { read_only: true }, { tool: { class: 'write' } }],
    ['method', { method: 'list_cities' }, {}],
    ['input_schema', { input_schema: { required: ['city'] } }, { args: { town: 'Lisbon' } }],
    ['definition_hash', { definition_hash: `sha256:${'a'.repeat(64)}` }, {}],
  ])('hold of a child that drops %s', async (name, constraints, call) => {
    const refused = { allow: false, denial: { reason: 'SCOPE_MISMATCH', detail: `constraint:${name}` } };
    expect(decide(await child(constraints, {}), call)).toMatchObject(refused);
    expect(decide(await child({}, constraints), call)).toMatchObject(refused);
  });

  it('hold of a child that names its parent’s tools again and more', async () => {
    const authority = await child(
      { allowed_tools: ['list_cities'] },
      { allowed_tools: ['list_cities', 'get_forecast'] },
    );
    expect(decide(authority)).toMatchObject({ allow: false, denial: { reason: 'UNKNOWN_TOOL' } });
    expect(decide(authority, { method: 'list_cities' }).allow).toBe(true);
  });

  it('deny when a link has one that nobody knows', async () => {
    expect(decide(await child({ region: 'eu' }, {}))).toMatchObject({ denial: { detail: 'constraint_unknown' } });
  });

  it('are counted under the link that says so', async () => {
    const { limits, capability } = await child({ rate_limit: '10/minute' }, { max_calls: 3, rate_limit: '5/hour' });
    const [root, own] = capability.ancestors;
    expect(limits).toEqual([
      { kind: 'rate_limit', count: 10, burst: 10, perSec: 60, id: root },
      { kind: 'max_calls', count: 3, burst: 3, perSec: 0, id: own },
      { kind: 'rate_limit', count: 5, burst: 5, perSec: 3_600, id: own },
    ]);
  });
});

describe('properties', () => {
  const name = fc.constantFrom('a', 'b', '*', 'x:y');
  const part = fc.option(fc.oneof(fc.constant(anyValue), name), { nil: undefined });
  const scope = fc
    .record({
      server: fc.oneof(fc.constantFrom('weather', 'git', 'gateway'), fc.constant(anyValue)),
      method: part,
      resource: part,
    })
    .map(
      ({ server, method, resource }): Scope => ({
        server,
        ...(method === undefined ? {} : { method }),
        ...(resource === undefined ? {} : { resource }),
      }),
    );
  const request = fc.record(
    { server: fc.constantFrom('weather', 'git', 'gateway', 'other'), method: name, resource: name },
    { requiredKeys: ['server'] },
  );

  it('a scope within another grants nothing that the other does not', () => {
    fc.assert(
      fc.property(scope, scope, request, (narrower, wider, asked) => {
        fc.pre(scopeWithin(narrower, wider) && scopeCovers(narrower, asked));
        expect(scopeCovers(wider, asked)).toBe(true);
      }),
      { numRuns: 5_000, maxSkipsPerRun: 1_000 },
    );
  });

  it('a scope is within itself', () => {
    fc.assert(fc.property(scope, (given) => scopeWithin(given, given)));
  });

  const constraints = fc.record<JsonObject>(
    {
      method: fc.constantFrom('get_forecast', 'list_cities'),
      allowed_tools: fc.subarray(['get_forecast', 'list_cities', 'other'], { minLength: 1 }),
      paths: fc.subarray(['/docs/**', '/*', '/etc/passwd'], { minLength: 1 }),
      read_only: fc.boolean(),
      region: fc.constant('eu'),
    },
    { requiredKeys: [] },
  );
  const call = fc.record({
    method: fc.constantFrom('get_forecast', 'list_cities'),
    tool: fc.constantFrom<ToolFacts>(readTool, { class: 'write' }),
    args: fc.constantFrom<JsonObject>({}, { path: '/docs/a' }, { path: '/etc/passwd' }, { path: '/a' }),
  });

  it('a child never allows what its parent denies', async () => {
    const methods = fc.constantFrom('tool:weather', 'tool:weather/method:get_forecast', 'tool:weather/method:*');
    await fc.assert(
      fc.asyncProperty(methods, constraints, methods, constraints, call, async (s1, c1, s2, c2, asked) => {
        const root = rootToken({ scope: s1, constraints: c1 });
        const parent = childToken(first, [root], { scope: s1, sub: second.did, delegatable: true });
        const verified = await verifierAt(standingClock()).authorityOf(
          childToken(second, [parent], { scope: s2, constraints: c2 }),
        );
        if (isDenial(verified)) return;
        if (decide(verified, asked).allow) expect(decide(await authorityOfToken(root), asked).allow).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('writes every scope so that it reads the same', () => {
    fc.assert(
      fc.property(scope, (given) => {
        expect(parseScope(formatScope(given))).toEqual(given);
      }),
    );
  });
});
