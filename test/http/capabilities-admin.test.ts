/** Capabilities through the admin API, and revocation as two gateways on one database see it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childToken, holders, rootToken } from '../support/delegation.ts';
import {
  type Answer,
  callTool,
  productionEnv,
  recordOf,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { hs256 } from '../support/identity.ts';
import { goodClaims, jwsOf, testNowSec, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';
import { wrongTokens } from '../support/wrong-tokens.ts';

const token = productionEnv.AUTH_ADMIN_SECRET;
const hash = 'f'.repeat(64);
let folder: string;
let env: Readonly<Record<string, string>>;
let upstream: Upstream;
let gateway: TestGateway;
let second: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-issuer-'));
  const keyFile = join(folder, 'issuer.pem');
  await writeFile(keyFile, trustedIssuer.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  upstream = await startUpstream({ calls: { echo } });
  env = { ...productionEnv, TALOS_RATE_LIMIT: 'false', TALOS_LOG_KEY_FILE: join(folder, 'log.key') };
  const options = { clock: wallClock(), servers: { tested: upstream.url } };
  gateway = await startTestGateway({ ...options, env: { ...env, TALOS_ISSUER_KEY_FILE: keyFile } });
  const { url } = gateway.database;
  second = await startTestGateway({ ...options, env, databaseUrl: () => url });
});

afterAll(async () => {
  await second.stop();
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const admin = (path: string, json?: SendOptions['json'], options: SendOptions = {}) =>
  gateway.send(`/admin/v1/${path}`, { token, ...(json === undefined ? {} : { json }), ...options });
const grantBody = { subject: 'agent-1', scope: 'tool:tested', ttl_seconds: 600 };
const call = (capability: string, at = gateway) => callTool(at, 'echo', {}, { token: capability });

async function granted(changes: object = {}): Promise<{ token: string; capability_hash: string }> {
  const { status, body, text } = await admin('capabilities', { ...grantBody, ...changes });
  if (status !== 200) throw new Error(text);
  return body as { token: string; capability_hash: string };
}

function expectRevoked(answer: Answer): void {
  expect(answer.status).toBe(401);
  expect(answer.body).toMatchObject({
    details: { denial_reason: 'REVOKED' },
    message: 'The capability has been revoked.',
  });
}

describe('granting', () => {
  it('gives a capability that works, and a record that does not hold it', async () => {
    const answer = await admin('capabilities', { ...grantBody, constraints: { read_only: false } });
    expect(answer.status).toBe(200);
    const capability = String(answer.body['token']);
    expect((await call(capability)).status).toBe(200);
    expect((await call(capability, second)).status).toBe(200);
    const { record, meta } = await recordOf(gateway, answer, tokenWith({ scope: 'tool:gateway' }));
    expect(meta).toMatchObject({
      event_type: 'capability_granted',
      granted_hash: answer.body['capability_hash'],
      granted_subject: 'agent-1',
      granted_scope: 'tool:tested',
    });
    expect(JSON.stringify(record)).not.toContain(capability.slice(0, 40));
  });

  it.each<[string, object, number]>([
    ['an unknown constraint', { constraints: { region: 'eu' } }, 400],
    ['a value that a constraint cannot have', { constraints: { paths: [] } }, 400],
    ['a schema that cannot be used', { constraints: { input_schema: { type: 'x' } } }, 400],
    ['a reserved subject', { subject: 'gateway' }, 400],
    ['no scope', { scope: '' }, 422],
    ['no life', { ttl_seconds: 0 }, 422],
    ['a member more', { sub: 'x' }, 422],
  ])('refuses %s', async (_, changes, status) => {
    expect((await admin('capabilities', { ...grantBody, ...changes })).status).toBe(status);
  });

  it.each([
    ['that is none', 'git', '"git" is not a scope'],
    ['of which one is none', 'tool:tested other', 'is not a scope'],
    ['with a star in a name', 'tool:tested/method:git_*', 'is not a scope'],
    ['for an action that there is not', 'tool:gateway/method:events.raed', 'no action of the gateway'],
    ['for a resource of a tool', 'tool:tested/method:echo/resource:x', 'neither tools nor actions'],
    ['of the older spelling without the names that it needs', 'tools/call', 'is not a scope'],
  ])('refuses a scope that could never grant anything, in a sentence that says so: %s', async (_, scope, sentence) => {
    const { status, body } = await admin('capabilities', { ...grantBody, scope });
    expect([status, body['code'], body['message']]).toEqual([
      400,
      'INVALID_REQUEST',
      expect.stringContaining(sentence),
    ]);
  });

  it('gives one of the older spelling', async () => {
    const { token } = await granted({ scope: 'tools/call', constraints: { tool: 'tested', method: 'echo' } });
    expect((await call(token)).status).toBe(200);
  });

  it.each<[string, string, object, number, string]>([
    ['capabilities', 'what is no scope', { ...grantBody, scope: 'git' }, 400, 'failure'],
    ['capabilities', 'what they may not do themselves', grantBody, 403, 'denied'],
    ['capabilities/revoke', 'what is no token', { token: 'nonsense' }, 400, 'failure'],
    ['capabilities/revoke', 'an id with a line end', { id: 'a\nb' }, 400, 'failure'],
  ])('%s: that %s was refused is on record', async (path, _, json, status, outcome) => {
    const granter = hs256({ sub: 'granter', exp: testNowSec + 600, permissions: ['capabilities:write'] }, token);
    const answer = await admin(path, json as never, { token: granter });
    expect([answer.status, answer.text]).toEqual([status, answer.text]);
    const { record, meta } = await recordOf(gateway, answer, tokenWith({ scope: 'tool:gateway' }));
    expect(record).toMatchObject({ outcome, principal: { principal_id: 'granter' } });
    if (status !== 403) return;
    expect(answer.body).toMatchObject({ details: { denial_reason: 'SCOPE_MISMATCH' } });
    expect(meta).toMatchObject({ denial_reason: 'SCOPE_MISMATCH', denial_detail: 'escalation' });
  });

  it('is not for a gateway without a key', async () => {
    const answer = await second.send('/admin/v1/capabilities', { token, json: grantBody });
    expect([answer.status, answer.body['code']]).toEqual([501, 'ISSUER_NOT_CONFIGURED']);
  });

  it.each(['capabilities', 'capabilities/revoke', 'policy/explain'])('%s is not for agents', async (path) => {
    const agent = tokenWith({ scope: 'tool:tested tool:gateway/method:events.read' });
    const bodies: Record<string, object> = {
      capabilities: grantBody,
      'capabilities/revoke': { capability_hash: hash },
      'policy/explain': { server_id: 'tested', tool_name: 'echo' },
    };
    const answer = await admin(path, bodies[path] as never, { token: agent });
    expect([answer.status, answer.body['code']]).toEqual([403, 'TALOS_DENIED']);
    expect((await gateway.send(`/admin/v1/${path}`, { json: bodies[path] as never })).status).toBe(401);
  });
});

describe('the list of servers', () => {
  const list = (capability: string, headers = {}) =>
    gateway.send('/v1/mcp/servers', {
      token: tokenWith({ scope: 'tool:tested' }),
      headers: { 'x-talos-capability': capability, ...headers },
    });

  it('is refused with the reason to a capability that does not count, and empty for one that grants none', async () => {
    const revoked = await granted({ subject: 'lister' });
    await admin('capabilities/revoke', { token: revoked.token });
    for (const [capability, reason] of [
      ['nonsense', 'SIGNATURE_INVALID'],
      [tokenWith({ scope: 'tool:tested', iat: testNowSec - 7_200, exp: testNowSec - 3_600 }), 'EXPIRED'],
      [revoked.token, 'REVOKED'],
    ] as const) {
      const answer = await list(capability);
      expect([reason, answer.status, answer.body['details']]).toEqual([reason, 403, { denial_reason: reason }]);
    }
    const { status, body } = await list(tokenWith({ scope: 'tool:elsewhere' }));
    expect([status, body['servers']]).toEqual([200, []]);
    expect((await list(tokenWith({ scope: 'tool:tested' }))).body['servers']).toHaveLength(1);
  });
});

describe('revoking', () => {
  it('counts at once here, within a second elsewhere, and is on record', async () => {
    const { token: capability, capability_hash } = await granted();
    expect((await call(capability, second)).status).toBe(200);
    const answer = await admin('capabilities/revoke', { token: capability, reason: 'lost laptop' });
    expect(answer.body).toMatchObject({ revoked: { kind: 'hash', value: capability_hash } });
    expectRevoked(await call(capability));
    await expect.poll(async () => (await call(capability, second)).status, { timeout: 20_000 }).toBe(401);
    const { meta } = await recordOf(gateway, answer, tokenWith({ scope: 'tool:gateway' }));
    expect(meta).toMatchObject({ revoked_hash: capability_hash, revoked_because: 'lost laptop' });
    const { body } = await admin('capabilities/revocations?limit=1');
    expect(body).toMatchObject({ revocations: [{ value: capability_hash, audit_ref: answer.body['audit_ref'] }] });
  });

  it('takes with it what was passed on', async () => {
    const root = rootToken({ scope: 'tool:tested' });
    const child = childToken(holders[0], [root], { scope: 'tool:tested' });
    expect((await call(child)).status).toBe(200);
    await admin('capabilities/revoke', { token: root });
    expectRevoked(await call(child));
  });

  it('works by the id that the issuer gave, and again for what is revoked', async () => {
    const capability = jwsOf({ ...goodClaims({ scope: 'tool:tested' }), jti: 'laptop-7' });
    for (let time = 0; time < 2; time++) {
      expect((await admin('capabilities/revoke', { id: 'laptop-7' })).status).toBe(200);
    }
    const inspected = await admin('capabilities/inspect', { token: capability });
    expect(inspected.body).toMatchObject({ accepted: false, denial: { denial_reason: 'REVOKED' } });
    const { body } = await admin('capabilities/revocations');
    const ids = (body['revocations'] as { value: string }[]).filter(({ value }) => value === 'laptop-7');
    expect(ids).toHaveLength(1);
  });

  it.each<[string, object, number]>([
    ['what is no token', { token: 'nonsense' }, 400],
    ['a hash that is none', { capability_hash: 'abc' }, 422],
    ['an id with a line end', { id: 'a\nb' }, 400],
    ['two names at once', { id: 'a', capability_hash: hash }, 422],
    ['nothing', {}, 422],
  ])('refuses %s', async (_, body, status) => {
    expect((await admin('capabilities/revoke', body as never)).status).toBe(status);
  });

  it('survives a restart', async () => {
    const { token: capability } = await granted();
    await admin('capabilities/revoke', { token: capability });
    const { url } = gateway.database;
    const third = await startTestGateway({
      clock: wallClock(),
      env,
      servers: { tested: upstream.url },
      databaseUrl: () => url,
    });
    try {
      expectRevoked(await call(capability, third));
    } finally {
      await third.stop();
    }
  });
});

describe('inspecting', () => {
  it('says the whole chain in words', async () => {
    const child = childToken(holders[0], [rootToken()], { constraints: { max_calls: 3 } });
    const { body } = await admin('capabilities/inspect', { token: child });
    expect(body).toMatchObject({
      accepted: true,
      links: [
        { issuer: trustedIssuer.did, allows: ['everything on the server weather'], signature_valid: true },
        { issuer: holders[0].did, conditions: ['at most 3 calls in all'], signature_valid: true },
      ],
    });
  });

  it('never says that a wrong token is accepted', async () => {
    for (const { name, token: wrong } of wrongTokens) {
      const { status, body } = await admin('capabilities/inspect', { token: wrong });
      expect([200, 400, 422], name).toContain(status);
      if (status === 200) expect(body['accepted'], name).toBe(false);
    }
  });
});

describe('why not?', () => {
  const explain = async (body: object) =>
    await admin('policy/explain', { server_id: 'tested', tool_name: 'echo', ...body });

  it('says that a call would be allowed, makes none, and is on record without the arguments', async () => {
    const before = upstream.calls.length;
    const answer = await explain({
      capability: tokenWith({ scope: 'tool:tested' }),
      input: { canary: 'canary-value' },
    });
    expect(answer.body).toMatchObject({ decision: 'allow', remedies: [], tool_known: true });
    expect(upstream.calls).toHaveLength(before);
    const { record, meta } = await recordOf(gateway, answer, tokenWith({ scope: 'tool:gateway' }));
    expect(meta).toMatchObject({ explained_server: 'tested', explained_tool: 'echo', explained_decision: 'allow' });
    expect(JSON.stringify(record)).not.toContain('canary');
  });

  it('names the link and the constraint, and what would satisfy it', async () => {
    const root = rootToken({ scope: 'tool:tested', constraints: { paths: ['/docs/**'] } });
    const capability = childToken(holders[0], [root], { scope: 'tool:tested', constraints: { read_only: true } });
    const { body } = await explain({ capability, input: { path: '/etc/passwd' } });
    expect(body).toMatchObject({
      decision: 'deny',
      denial: { denial_reason: 'SCOPE_MISMATCH', denial_detail: 'constraint:paths' },
      links: [
        { covers_call: true, constraints: [{ name: 'paths', holds: false, denial_detail: 'constraint:paths' }] },
        { covers_call: true, constraints: [{ name: 'read_only', holds: false }] },
      ],
    });
    expect(body['remedies']).toEqual([
      expect.stringContaining('constraint paths: only where every path in the arguments matches ["/docs/**"]'),
      expect.stringContaining('constraint read_only: only tools that are classified as reading'),
    ]);
  });

  it.each<[string, object, object]>([
    ['no capability', {}, { denial_reason: 'NO_CAPABILITY' }],
    ['a wrong one', { capability: 'nonsense' }, { denial_reason: 'SIGNATURE_INVALID' }],
    ['another server', { capability: tokenWith({ scope: 'tool:other' }) }, { denial_detail: 'scope' }],
    [
      'possession that is not proven',
      { capability: tokenWith({ scope: 'tool:tested', constraints: { bearer: false } }) },
      { denial_detail: 'possession_unproven' },
    ],
  ])('explains %s', async (_, body, denial) => {
    const answer = await explain(body);
    expect(answer.body).toMatchObject({ decision: 'deny', denial });
    expect(answer.body['remedies']).toHaveLength(1);
  });

  it('says of a link that was revoked since when, by whom and why', async () => {
    const root = rootToken({ scope: 'tool:tested', constraints: { max_calls: 99 } });
    const capability = childToken(holders[0], [root], { scope: 'tool:tested', constraints: { read_only: true } });
    const revoked = await admin('capabilities/revoke', { token: root, reason: 'lost laptop' });
    const { body } = await explain({ capability });
    expect(body).toMatchObject({
      decision: 'deny',
      denial: { denial_reason: 'REVOKED' },
      links: [
        {
          issuer: trustedIssuer.did,
          covers_call: true,
          faults: [
            {
              denial_reason: 'REVOKED',
              message: expect.stringMatching(/^It was revoked at 20.*Z by admin-user: lost laptop$/),
              audit_ref: revoked.body['audit_ref'],
            },
          ],
        },
        { issuer: holders[0].did, constraints: [{ name: 'read_only', holds: false }], faults: [] },
      ],
    });
    expect(body['remedies']).toEqual(['a new capability; a revocation cannot be taken back']);
    const { body: listed } = await admin('capabilities/revocations?limit=1');
    expect(listed).toMatchObject({ revocations: [{ revoked_by: 'admin-user', reason: 'lost laptop' }] });
  });

  it.each<[string, () => string, object]>([
    [
      'that has expired',
      () => tokenWith({ scope: 'tool:tested', iat: testNowSec - 7_200, exp: testNowSec - 3_600 }),
      { denial_reason: 'EXPIRED', message: expect.stringMatching(/^It expired at 20.*Z\.$/) },
    ],
    [
      'that does not count yet',
      () => tokenWith({ scope: 'tool:tested', constraints: { nbf: testNowSec + 600 } }),
      { denial_reason: 'SCOPE_MISMATCH', denial_detail: 'not_yet_valid' },
    ],
    [
      'of an issuer that is not trusted',
      () => childToken(holders[1], [], { scope: 'tool:tested' }),
      {
        denial_reason: 'SIGNATURE_INVALID',
        denial_detail: 'issuer_untrusted',
        message: expect.stringContaining('did:'),
      },
    ],
    [
      'that its issuer did not sign',
      () => {
        const [head, body] = jwsOf(goodClaims({ scope: 'tool:tested' })).split('.');
        const [, , other] = jwsOf(goodClaims({ scope: 'tool:other' })).split('.');
        return `${head}.${body}.${other}`;
      },
      { denial_reason: 'SIGNATURE_INVALID', denial_detail: 'signature_wrong' },
    ],
  ])('names the link of a capability %s', async (_, capability, fault) => {
    const { body } = await explain({ capability: capability() });
    expect(body).toMatchObject({ decision: 'deny', links: [{ covers_call: true, faults: [fault] }] });
  });

  it('takes a proof of possession as given', async () => {
    const capability = tokenWith({ scope: 'tool:tested', constraints: { bearer: false } });
    expect((await explain({ capability, proves_possession: true })).body['decision']).toBe('allow');
  });

  it('asks for the proof that this gateway asks for', async () => {
    const { url } = gateway.database;
    const proving = { ...env, TALOS_BEARER_CAPABILITIES: 'false' };
    const options = { clock: wallClock(), servers: { tested: upstream.url } };
    const strict = await startTestGateway({ ...options, env: proving, databaseUrl: () => url });
    try {
      const capability = tokenWith({ scope: 'tool:tested', sub: 'alice' });
      const explainStrictly = async (changes: object) => {
        const json = { server_id: 'tested', tool_name: 'echo', capability, ...changes };
        return (await strict.send('/admin/v1/policy/explain', { token, json })).body;
      };
      for (const changes of [{}, { principal: { id: 'mallory' } }]) {
        const body = await explainStrictly(changes);
        expect(body).toMatchObject({ decision: 'deny', denial: { denial_detail: 'subject_mismatch' } });
        expect(body['remedies']).toEqual([expect.stringContaining("signed with the subject's key")]);
      }
      expect((await call(capability, strict)).status).toBe(401);
      expect((await explainStrictly({ principal: { id: 'alice' } }))['decision']).toBe('allow');
      expect((await explainStrictly({ proves_possession: true }))['decision']).toBe('allow');
      expect((await explain({ capability, principal: { id: 'mallory' } })).body['decision']).toBe('allow');
    } finally {
      await strict.stop();
    }
  });
});
