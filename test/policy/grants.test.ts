/** Roles and permissions: deny by default, scopes as the public vectors match them, and whose events they show. */
import { describe, expect, it } from 'vitest';
import { parsePermission, permissionCovers, permissionOfAction } from '../../src/core/permission.ts';
import { anonymous, type Principal } from '../../src/core/principal.ts';
import { builtInRoles } from '../../src/core/role.ts';
import { type RoleScope, scopeFit } from '../../src/core/role-scope.ts';
import { isVisible } from '../../src/core/visible-teams.ts';
import {
  type Asker,
  decideAction,
  decideByName,
  decideReach,
  decideSee,
  type PolicyMode,
  visibleTeams,
} from '../../src/policy/decide.ts';
import type { Grant } from '../../src/policy/grants.ts';
import { mayGive } from '../../src/policy/may-give.ts';
import { authorityOf } from '../support/authority.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const ann: Principal = { authMode: 'bearer', id: 'ann', teamId: 'red' };
const everywhere: RoleScope = { scope_type: 'global', attributes: {} };
const inTeam = (team: string): RoleScope => ({ scope_type: 'team', attributes: { team } });
const onPath = (attributes: Record<string, string>): RoleScope => ({ scope_type: 'path', attributes });

function mode(grants: readonly Grant[] | undefined, development = false): PolicyMode {
  return { development, requireCapability: false, roles: { grantsOf: ({ id }) => (id === 'ann' ? grants : []) } };
}

const grant = (permissions: string[], scope = everywhere, bindingId = 'b1'): Grant => ({
  bindingId,
  scope,
  permissions,
});
const asker = (given: Partial<Asker> = {}): Asker => ({ principal: ann, authority: undefined, ...given });
const forecast = { server: 'weather', method: 'get_forecast' };

interface ScopeVector {
  readonly id: string;
  readonly required_scope: RoleScope;
  readonly binding_scope: RoleScope;
  readonly should_match: boolean;
  readonly specificity: number;
}

describeVectors('the public vectors', () => {
  const { vectors } = vector<{ vectors: ScopeVector[] }>('contracts/rbac/scope_match_vectors.json');
  it.each(vectors.map((entry) => [entry.id, entry] as const))('match scopes: %s', (_, entry) => {
    const fit = scopeFit(entry.binding_scope, entry.required_scope);
    expect([fit !== undefined, fit ?? 0]).toEqual([entry.should_match, entry.specificity]);
  });

  const { tests } = vector<{ tests: { name: string; action: string; identity: { principal_id?: string } | null }[] }>(
    'contracts/rbac/deny_by_default.json',
  );
  it.each(tests.map((entry) => [entry.name, entry] as const))('deny by default: %s', (_, { action, identity }) => {
    const id = identity?.principal_id;
    const principal: Principal = id === undefined ? anonymous : { authMode: 'bearer', id, teamId: 'red' };
    expect(decideAction(action, 'write', asker({ principal }), mode([grant(['*:*'])])).allow).toBe(false);
  });
});

describe('scopes', () => {
  it.each([
    [onPath({ server: 'weather', region: 'eu' }), undefined],
    [onPath({ server: '*', tool: 'get_forecast' }), 3],
    [onPath({ tool: '*' }), 1],
    [onPath({ toString: '*' }), undefined],
    [{ ...onPath({ server: 'weather' }), scope_type: 'repo' } as RoleScope, undefined],
  ])('%j fits a call as %s', (scope, fit) => {
    expect(scopeFit(scope, onPath({ server: 'weather', tool: 'get_forecast' }))).toBe(fit);
  });
});

describe('permissions', () => {
  it.each([
    '',
    'read',
    'a:',
    ':b',
    'A:b',
    'a:b:c:d',
    'a b:c',
    'a.b.c.d',
    '*.*',
    'a-b:c',
    `a:${'b'.repeat(100)}`,
    'a:b\n',
  ])('are not what %j is', (text) => expect(parsePermission(text)).toBeUndefined());

  it('have one normal form', () => {
    expect(['audit.read', 'audit:read', '*:*', 'events:read:all', 'a_1:*'].map(parsePermission)).toEqual([
      'audit:read',
      'audit:read',
      '*:*',
      'events:read:all',
      'a_1:*',
    ]);
  });

  it.each([
    ['events:read', 'events.write'],
    ['events:*', 'admin.secrets.read'],
    ['event:*', 'events.read'],
    ['*', 'events.read'],
    ['platform:admin', 'events.read'],
    ['keys:read', 'admin.secrets.write'],
    ['secrets:read', 'admin.keys.read'],
    ['audit:read', 'admin.rbac.read'],
  ])('%s does not cover %s', (granted, action) => {
    expect(permissionCovers(granted, permissionOfAction(action))).toBe(false);
  });

  it.each([
    ['events:read', 'events.read'],
    ['events:*', 'events.write'],
    ['*:*', 'admin.secrets.write'],
    ['platform:admin', 'admin.rbac.write'],
    ['audit:read', 'admin.telemetry.read'],
    ['keys:write', 'admin.secrets.write'],
  ])('%s covers %s', (granted, action) => {
    expect(permissionCovers(granted, permissionOfAction(action))).toBe(true);
  });
});

describe('a tool call', () => {
  const call = (given: Partial<Asker>, grants: readonly Grant[] | undefined) =>
    decideByName(forecast, asker(given), mode(grants));

  it.each<[string, Partial<Asker>, readonly Grant[] | undefined, object]>([
    ['without any role', {}, [], { reason: 'NO_CAPABILITY' }],
    ['with another permission', {}, [grant(['events:read'])], { detail: 'rbac_permission_denied' }],
    ['with a role that may only see tools', {}, [grant(['mcp:read'])], { detail: 'rbac_permission_denied' }],
    ['with a role in another team', {}, [grant(['mcp:invoke'], inTeam('blue'))], { detail: 'rbac_permission_denied' }],
    [
      'with a role on another server',
      {},
      [grant(['*:*'], onPath({ server: 'git' }))],
      { detail: 'rbac_permission_denied' },
    ],
    ['with a role for another tool', {}, [grant(['*:*'], onPath({ tool: 'x' }))], { detail: 'rbac_permission_denied' }],
    [
      'with a role for a secret',
      {},
      [grant(['*:*'], { scope_type: 'secret', attributes: {} })],
      { detail: 'rbac_permission_denied' },
    ],
    ['when the roles are not known', {}, undefined, { detail: 'rbac_stale' }],
    ['by nobody', { principal: anonymous }, [grant(['*:*'])], { reason: 'NO_CAPABILITY' }],
    ['by another principal', { principal: { ...ann, id: 'Ann' } }, [grant(['*:*'])], { reason: 'NO_CAPABILITY' }],
    [
      'with a key for something else',
      { permissions: ['events:*', 'nonsense'] },
      [],
      { detail: 'rbac_permission_denied' },
    ],
    ['by the admin secret alone', { isAdmin: true }, [], { reason: 'NO_CAPABILITY' }],
  ])('%s is denied', (_, given, grants, denial) => {
    expect(call(given, grants)).toMatchObject({ allow: false, denial });
  });

  it.each<[string, Partial<Asker>, readonly Grant[]]>([
    ['a global role', {}, [grant(['mcp:invoke'])]],
    ['a role of its team', {}, [grant(['mcp:*'], inTeam('red'))]],
    ['a role on the server', {}, [grant(['mcp:invoke'], onPath({ server: 'weather' }))]],
    ['a role for the tool', {}, [grant(['mcp:invoke'], onPath({ server: 'weather', tool: 'get_forecast' }))]],
    ['what its key carries', { permissions: ['mcp.invoke'] }, []],
  ])('is allowed by %s', (_, given, grants) => {
    expect(call(given, grants)).toEqual({ allow: true });
  });

  it('is denied by a capability that does not cover it, whatever roles there are', async () => {
    const authority = await authorityOf('tool:git');
    expect(call({ authority, permissions: ['*:*'] }, [grant(['*:*'])])).toMatchObject({ denial: { detail: 'scope' } });
    expect(decideSee(forecast, asker({ authority }), mode([grant(['*:*'])])).allow).toBe(false);
    expect(decideReach('weather', asker({ authority }), mode([grant(['*:*'])])).allow).toBe(false);
  });

  it('can be seen with less than it takes to make it', () => {
    const viewer = mode([grant(['mcp:read'], onPath({ server: 'weather', tool: 'get_forecast' }))]);
    expect(decideSee(forecast, asker(), viewer).allow).toBe(true);
    expect(decideReach('weather', asker(), viewer).allow).toBe(true);
    expect(decideSee({ ...forecast, method: 'other' }, asker(), viewer).allow).toBe(false);
    expect(decideReach('git', asker(), viewer).allow).toBe(false);
    expect(decideByName(forecast, asker(), viewer).allow).toBe(false);
  });
});

describe('the administration', () => {
  it.each<[string, Partial<Asker>, Grant[]]>([
    ['a role of a team', {}, [grant(['*:*'], inTeam('red'))]],
    ['a role for one secret', {}, [grant(['secrets:*'], { scope_type: 'secret', attributes: { secret: 'a' } })]],
    ['a permission to read', { permissions: ['secrets:read', 'keys.read'] }, []],
  ])('is not opened by %s', (_, given, grants) => {
    expect(decideAction('admin.secrets.write', 'write', asker(given), mode(grants)).allow).toBe(false);
  });

  it('is opened where the request lies', () => {
    const one: RoleScope = { scope_type: 'secret', attributes: { secret: 'a' } };
    const roles = mode([grant(['secrets:*'], one)]);
    expect(decideAction('admin.secrets.write', 'write', asker(), roles, [one]).allow).toBe(true);
    const other: RoleScope = { scope_type: 'secret', attributes: { secret: 'b' } };
    expect(decideAction('admin.secrets.write', 'write', asker(), roles, [other]).allow).toBe(false);
  });

  it('lets nobody give more than they have', () => {
    const operator = mode([grant(['platform:admin'])]);
    const refused = [['*:*'], ['mcp:invoke'], ['events:read'], ['audit:read'], ['rbac:read', 'mcp:*'], ['*:read']];
    for (const permissions of refused)
      expect([permissions, mayGive(permissions, asker(), operator)]).toEqual([permissions, false]);
    expect(mayGive(['rbac:write', 'secrets:*'], asker(), operator)).toBe(true);
    expect(mayGive(['secrets:read'], asker(), mode([grant(['*:*'], inTeam('red'))]))).toBe(false);
    expect(mayGive(['*:*'], asker({ isAdmin: true }), mode([]))).toBe(true);
    expect(mayGive(['*:*'], asker(), mode([grant(['*:*'])]))).toBe(true);
  });
});

describe('whose events are seen', () => {
  const seen = (given: Partial<Asker>, grants: Grant[], development = false) =>
    visibleTeams('events.read', asker(given), mode(grants, development));

  it.each<[string, Partial<Asker>, Grant[], unknown]>([
    ['nobody has no role', {}, [], []],
    ['the own team', {}, [grant(['events:read'], inTeam('red'))], ['red']],
    ['another team alone', {}, [grant(['events:read'], inTeam('blue'))], ['blue']],
    ['no team of a role that is limited to a path', {}, [grant(['events:read'], onPath({ server: 'weather' }))], []],
    [
      'no team of a role that asks for more',
      {},
      [grant(['events:read'], { scope_type: 'team', attributes: { team: 'red', x: 'y' } })],
      [],
    ],
    ['all by a global role', {}, [grant(['events:read'])], 'all'],
    ['all by every team', {}, [grant(['events:read'], inTeam('*'))], 'all'],
    ['the own by a key', { permissions: ['events.read'] }, [], ['red']],
    [
      'both by a key and a role',
      { permissions: ['audit.read'] },
      [grant(['events:read'], inTeam('blue'))],
      ['red', 'blue'],
    ],
    ['all by a key that says so', { permissions: ['events:read:all'] }, [], 'all'],
    ['none by a key for other things', { permissions: ['mcp:invoke'] }, [], []],
    ['none by nobody', { principal: anonymous }, [grant(['*:*'])], []],
  ])('%s', (_, given, grants, teams) => {
    expect(seen(given, grants)).toEqual(teams);
  });

  it('a capability shows its own team, whatever roles there are', async () => {
    const authority = await authorityOf('tool:gateway', { team_id: 'green' });
    expect(seen({ authority, permissions: ['*:*'] }, [grant(['*:*'])])).toEqual(['green']);
  });

  it('in development mode, all for those without a name and the own team for others', () => {
    expect(seen({ principal: anonymous }, [], true)).toBe('all');
    expect(seen({}, [], true)).toEqual(['red']);
  });

  it('one rule says whether an event is shown', () => {
    expect([isVisible('all', null), isVisible(['red'], 'red'), isVisible(['red', 'blue'], 'blue')]).toEqual([
      true,
      true,
      true,
    ]);
    expect([
      isVisible(['red'], 'blue'),
      isVisible(['red'], null),
      isVisible([], 'red'),
      isVisible(['red'], undefined),
    ]).toEqual([false, false, false, false]);
  });

  it('who sees no team may not read', () => {
    expect(decideAction('events.read', 'read', asker(), mode([grant(['mcp:invoke'])])).allow).toBe(false);
    expect(decideAction('events.read', 'read', asker(), mode([grant(['events:read'], inTeam('blue'))])).allow).toBe(
      true,
    );
  });
});

describe('built-in roles', () => {
  it('hold permissions in their normal form', () => {
    for (const { permissions } of builtInRoles) expect(permissions.map(parsePermission)).toEqual(permissions);
    expect(new Set(builtInRoles.map(({ role_id }) => role_id)).size).toBe(builtInRoles.length);
  });
});
