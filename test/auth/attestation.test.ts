/** Requests that are signed, capabilities that demand it, and sessions that stand for them: from outside, with two gateways. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attestationInput } from '../../src/core/attestation.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { didTalosFromPublicKey } from '../../src/core/did.ts';
import type { JsonObject } from '../../src/core/json.ts';
import {
  dumpOf,
  productionEnv,
  recordOf,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { adminToken, attest } from '../support/identity.ts';
import { issuerOfSeed, testNowSec, tokenWith } from '../support/issuer.ts';
import { query } from '../support/log-fixture.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const holder = issuerOfSeed('33'.repeat(32));
const listed = issuerOfSeed('44'.repeat(32));
const stranger = issuerOfSeed('55'.repeat(32));
const holderTalos = didTalosFromPublicKey(holder.publicKey);

let folder: string;
let upstream: Upstream;
let gateway: TestGateway;
let other: TestGateway;
const clock = wallClock();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-attestation-'));
  upstream = await startUpstream({ calls: { echo } });
  const env = {
    ...productionEnv,
    TALOS_ATTESTATION_KEYS: listed.did,
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
  };
  const servers = { weather: upstream.url };
  gateway = await startTestGateway({ env, servers, clock });
  other = await startTestGateway({ env: { ...env, DATABASE_URL: gateway.database.url }, servers, clock });
});

afterAll(async () => {
  await other.stop();
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const path = '/v1/mcp/servers/weather/tools/echo:call';
const opcode = 'mcp.tools.call';
const body = { input: { b: 1, a: 'ü' } };
const bound = (changes: object = {}) =>
  tokenWith({ scope: 'tool:weather', sub: holder.did, constraints: { bearer: false }, ...changes });

const call = (options: SendOptions, at = gateway) => at.send(path, { json: body, ...options });
const signed = (changes: Partial<Parameters<typeof attest>[1]> = {}, signer = holder) =>
  attest(signer, { path, opcode, body, ...changes });

describe('a signed request', () => {
  it('proves possession of a capability that demands it, in the header or as the bearer', async () => {
    for (const send of [{ capability: bound() }, { token: bound() }, { capability: bound({ sub: holderTalos }) }]) {
      const answer = await call({ ...send, headers: signed() });
      expect(answer.status, answer.text).toBe(200);
    }
  });

  it('names its sender in the record', async () => {
    const capability = bound({ constraints: { bearer: false, team_id: 'blue' } });
    const answer = await call({ capability, headers: signed() });
    const { record } = await recordOf(gateway, answer, adminToken());
    expect(record['principal']).toEqual({ auth_mode: 'bearer', principal_id: holder.did, team_id: 'blue' });
  });

  it('is an identity of its own for a key that is listed', async () => {
    const answer = await call({ headers: signed({}, listed) });
    expect([answer.status, answer.body['code']]).toEqual([403, 'TALOS_DENIED']);
    const { record } = await recordOf(gateway, answer, adminToken());
    expect(record['principal']).toMatchObject({ principal_id: listed.did });
  });

  it('is read whatever the white space and the order of its body', async () => {
    const raw = '{ "input" : { "a": "\\u00fc", "b": 1.0 } }';
    expect((await call({ raw, capability: bound(), headers: signed() } as SendOptions & { json?: never })).status).toBe(
      200,
    );
  });

  it('without a body signs the empty text', async () => {
    const list = '/v1/mcp/servers?x=1&a=2';
    const headers = attest(holder, { path: list, opcode: 'mcp.servers.list' });
    expect((await gateway.send(list, { capability: bound(), headers })).status).toBe(200);
    const sorted = attest(holder, { path: '/v1/mcp/servers?a=2&x=1', opcode: 'mcp.servers.list' });
    expect((await gateway.send(list, { capability: bound(), headers: sorted })).status).toBe(401);
  });
});

describe('an attestation is refused', () => {
  it.each<[string, () => Record<string, string>]>([
    ['for another body', () => signed({ body: { input: { b: 2, a: 'ü' } } })],
    ['for no body', () => attest(holder, { path, opcode, method: 'POST' })],
    ['for another method', () => signed({ method: 'PUT' })],
    ['for another path', () => signed({ path: path.replace('echo', 'other') })],
    ['for a query more', () => signed({ path: `${path}?a=1` })],
    ['for another surface', () => signed({ opcode: 'mcp.tools.list' })],
    ['for no surface', () => signed({ opcode: '' })],
    ['too old', () => signed({ timestamp: testNowSec - 61 })],
    ['from the future', () => signed({ timestamp: testNowSec + 61 })],
    ['at a time that is no number', () => signed({ timestamp: 'now' })],
    ['at a time with a zero before', () => signed({ timestamp: `0${testNowSec}` })],
    ['at a time with a fraction', () => signed({ timestamp: `${testNowSec}.0` })],
    ['at a time in other notation', () => signed({ timestamp: '1.7000001e9' })],
    ['with a short nonce', () => signed({ nonce: '1234567' })],
    ['with a long nonce', () => signed({ nonce: 'n'.repeat(129) })],
    ['with a nonce that is not ASCII', () => signed({ nonce: 'nönce-nonce' })],
    ['by another key', () => signed({ keyId: holder.did }, stranger)],
    ['by a key of another method', () => signed({ keyId: 'did:web:example.com' })],
    ['by no key', () => signed({ keyId: 'key-1' })],
    ['by a key of small order', () => signed({ keyId: `did:talos:${'0'.repeat(64)}` })],
    ['with padding', () => changed('signature', (text) => `${text}==`)],
    [
      'in the standard alphabet',
      () => changed('signature', (text) => `${text.replaceAll('-', '+').replaceAll('_', '/').slice(0, -1)}+`),
    ],
    ['with another spelling of its signature', () => changed('signature', respell)],
    ['with a signature cut short', () => changed('signature', (text) => text.slice(0, -4))],
    ['with another algorithm', () => changed('sig-alg', () => 'none')],
    ['with another version', () => changed('sig-version', () => 'v2')],
  ])('%s', async (_, headers) => {
    const before = upstream.calls.length;
    const answer = await call({ capability: bound(), headers: headers() });
    expect([answer.status, answer.body['code']], answer.text).toEqual([401, 'AUTH_INVALID']);
    expect(upstream.calls.length).toBe(before);
  });

  it.each(['key-id', 'timestamp', 'nonce', 'signature', 'sig-alg', 'sig-version'])('without its %s', async (name) => {
    const { [`x-talos-${name}`]: _, ...headers } = signed();
    const answer = await call({ capability: bound(), headers });
    expect([answer.status, answer.body['code']]).toEqual([401, 'AUTH_INVALID']);
  });

  it('for a body that has no canonical form', async () => {
    for (const raw of ['{"input":{"a":1,"a":2}}', '{"input":', 'text'])
      expect((await gateway.send(path, { raw, capability: bound(), headers: signed() })).status).toBe(400);
    const headers = { ...signed(), 'content-type': 'text/plain' };
    expect((await gateway.send(path, { raw: 'text', capability: bound(), headers })).status).toBe(415);
    const large = `{"input":{"a":"${'x'.repeat(1_100_000)}"}}`;
    expect((await gateway.send(path, { raw: large, capability: bound(), headers: signed() })).status).toBe(413);
  });

  it('by a key that nobody has vouched for', async () => {
    const answer = await call({ headers: signed({}, stranger) });
    expect([answer.status, answer.body['code']]).toEqual([401, 'AUTH_INVALID']);
    const forged = await call({ capability: `${bound().slice(0, -4)}AAAA`, headers: signed({}, stranger) });
    expect(forged.status).toBe(401);
  });

  it('a second time, here and at every gateway of the database, in whichever way its key is spelled', async () => {
    const headers = signed();
    const replaysAt = async (at: TestGateway) => {
      const { sessions } = (await at.send('/api/gateway/status')).body as { sessions?: JsonObject };
      return Number(sessions?.['replay_rejections_1h']);
    };
    const before = await Promise.all([gateway, other].map(replaysAt));
    expect((await call({ capability: bound(), headers })).status).toBe(200);
    for (const at of [gateway, other]) {
      const again = await call({ capability: bound(), headers }, at);
      expect([again.status, again.body['code']]).toEqual([401, 'REPLAY_DETECTED']);
      const respelled = { ...headers, 'x-talos-key-id': holderTalos };
      expect((await call({ capability: bound(), headers: respelled }, at)).body['code']).toBe('REPLAY_DETECTED');
    }
    expect(await Promise.all([gateway, other].map(replaysAt))).toEqual(before.map((count) => count + 2));
  });

  it('but once, when it comes to all gateways at once', async () => {
    const headers = signed();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => call({ capability: bound(), headers }, n % 2 === 0 ? gateway : other)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(9).fill(401)]);
  });

  it('without its nonce being spent', async () => {
    const headers = signed();
    expect((await call({ token: 'nonsense', headers })).status).toBe(401);
    expect((await call({ capability: bound(), headers })).status).toBe(200);
  });
});

function changed(name: string, change: (text: string) => string): Record<string, string> {
  const headers = signed();
  return { ...headers, [`x-talos-${name}`]: change(headers[`x-talos-${name}`] ?? '') };
}

/** The same bytes to a lenient decoder: the last letter has bits that mean nothing. */
function respell(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return text.slice(0, -1) + alphabet[alphabet.indexOf(text.slice(-1)) ^ 1];
}

describe('possession', () => {
  it.each<[string, () => SendOptions]>([
    [
      'without a signature, beside an identity',
      () => ({ token: adminToken({ permissions: [] }), capability: bound() }),
    ],
    ['of the same name only', () => ({ token: adminToken({ sub: holder.did, permissions: [] }), capability: bound() })],
    ['by the signature of another known key', () => ({ headers: signed({}, listed), capability: bound() })],
  ])('is not proven %s', async (_, options) => {
    const answer = await call(options());
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({ details: { denial_reason: 'SCOPE_MISMATCH' } });
  });

  it('is not proven by having the token', async () => {
    expect((await call({ token: bound() })).status).toBe(401);
    expect((await call({ token: bound(), headers: signed({}, stranger) })).status).toBe(401);
  });

  it('is not asked for where nobody asks', async () => {
    const answer = await call({ token: tokenWith({ scope: 'tool:weather', sub: holder.did }) });
    expect(answer.status).toBe(200);
  });
});

describe('a session', () => {
  const someone = () => adminToken({ sub: 'someone', permissions: [] });
  const capability = tokenWith({ scope: 'tool:weather', exp: testNowSec + 300 });
  const open = async (token = someone()) => {
    const answer = await call({ token, capability });
    expect(answer.status).toBe(200);
    return answer.headers.get('x-talos-session') ?? '';
  };
  const resume = (session: string, options: SendOptions = { token: someone() }) =>
    call({ ...options, headers: { 'x-talos-session': session, ...options.headers } });

  it('stands for the capability of the same caller', async () => {
    const session = await open();
    expect(session).toMatch(/^[0-9a-f]{32}$/);
    const answer = await resume(session);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('x-talos-session')).toBe(session);
    expect(await open()).toBe(session);
  });

  it('is another one for another caller and for another capability', async () => {
    const session = await open();
    expect(await open(adminToken({ sub: 'another', permissions: [] }))).not.toBe(session);
    const wider = await call({ token: someone(), capability: tokenWith({ scope: 'tool:*' }) });
    expect(wider.headers.get('x-talos-session')).not.toBe(session);
  });

  it.each<[string, (session: string) => [string, SendOptions?]]>([
    ['that nobody opened', () => ['0'.repeat(32)]],
    ['of another caller', (session) => [session, { token: adminToken({ sub: 'another', permissions: [] }) }]],
    [
      'of the same name in another team',
      (session) => [session, { token: adminToken({ team_id: 'blue', permissions: [] }) }],
    ],
    ['in capital letters', (session) => [session.toUpperCase().replace(/^[0-9]*$/, 'X')]],
    ['with a letter more', (session) => [`${session}0`]],
    ['that is two', (session) => [`${session}, ${session}`]],
    ['that is __proto__', () => ['__proto__']],
    ['that is empty', () => ['']],
  ])('is refused, on record: %s', async (_, wrong) => {
    const before = upstream.calls.length;
    const answer = await resume(...wrong(await open()));
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({ code: 'TALOS_DENIED', details: { denial_reason: 'NO_CAPABILITY' } });
    expect(answer.headers.get('x-talos-audit-ref')).toMatch(/./);
    expect(upstream.calls.length).toBe(before + 1);
  });

  it('is no credential by itself', async () => {
    const session = await open();
    expect((await resume(session, {})).status).toBe(401);
    expect((await resume(session, { token: 'anybody' })).status).toBe(401);
  });

  it('ends with its capability', async () => {
    const session = await open();
    clock.nowSec = testNowSec + 300 + 60;
    try {
      const late = await resume(session);
      expect([late.status, (late.body['details'] as JsonObject)['denial_reason']]).toEqual([403, 'EXPIRED']);
    } finally {
      clock.nowSec = testNowSec;
    }
    const gone = await resume(session);
    expect(gone.body).toMatchObject({ details: { denial_reason: 'NO_CAPABILITY' } });
  });

  it('demands the signature at every request where the capability does', async () => {
    const opened = await call({ capability: bound(), headers: signed() });
    const session = opened.headers.get('x-talos-session') ?? '';
    expect((await resume(session, { headers: signed() })).status).toBe(200);
    expect((await resume(session, {})).status).toBe(401);
    expect((await resume(session, { token: adminToken({ sub: holder.did, permissions: [] }) })).status).toBe(403);
    expect((await resume(session, { headers: signed({}, listed) })).status).toBe(403);
  });

  it('is known at every gateway, to the same caller, and judged there as it is here', async () => {
    const session = await open();
    const there = (options: SendOptions) =>
      call({ ...options, headers: { 'x-talos-session': session, ...options.headers } }, other);
    const answer = await there({ token: someone() });
    expect([answer.status, answer.headers.get('x-talos-session')]).toEqual([200, session]);
    const calls = upstream.calls.length;
    expect((await there({ token: adminToken({ sub: 'another', permissions: [] }) })).status).toBe(403);
    expect((await there({ token: adminToken({ team_id: 'blue', permissions: [] }) })).status).toBe(403);
    expect((await there({})).status).toBe(401);
    expect(upstream.calls.length).toBe(calls);
  });

  it('demands the signature at every gateway where the capability does', async () => {
    const opened = await call({ capability: bound(), headers: signed() });
    const headers = { 'x-talos-session': opened.headers.get('x-talos-session') ?? '' };
    expect((await call({ headers: { ...headers, ...signed() } }, other)).status).toBe(200);
    expect((await call({ headers: { ...headers, ...signed({}, listed) } }, other)).status).toBe(403);
    expect((await call({ headers, token: someone() }, other)).status).toBe(403);
  });

  it('ends at every gateway when its capability is revoked, whether it was known there or not', async () => {
    const token = tokenWith({ scope: 'tool:weather', exp: testNowSec + 301 });
    const sessions = await Promise.all(
      ['first', 'second'].map(async (sub) => {
        const caller = adminToken({ sub, permissions: [] });
        const answer = await call({ token: caller, capability: token });
        return { token: caller, headers: { 'x-talos-session': answer.headers.get('x-talos-session') ?? '' } };
      }),
    );
    const [known, unknown] = sessions;
    expect((await call(known ?? {}, other)).status).toBe(200);
    const admin = { token: productionEnv.AUTH_ADMIN_SECRET, json: { token } };
    expect((await gateway.send('/admin/v1/capabilities/revoke', admin)).status).toBe(200);
    await expect.poll(async () => (await call(known ?? {}, other)).status, { timeout: 20_000 }).toBe(403);
    const refused = await call(unknown ?? {}, other);
    expect(refused.body).toMatchObject({ details: { denial_reason: 'REVOKED' } });
    expect((await call(unknown ?? {})).status).toBe(403);
  });

  it('ends at every gateway when its capability expires', async () => {
    const session = await open();
    clock.nowSec = testNowSec + 300 + 60;
    try {
      const late = await call({ token: someone(), headers: { 'x-talos-session': session } }, other);
      expect(late.body).toMatchObject({ details: { denial_reason: 'EXPIRED' } });
    } finally {
      clock.nowSec = testNowSec;
    }
  });

  it('ends after a day, though its capability goes on', async () => {
    const lasting = tokenWith({ scope: 'tool:weather', exp: testNowSec + 200_000 });
    const headers = (await call({ token: someone(), capability: lasting })).headers;
    const session = { 'x-talos-session': headers.get('x-talos-session') ?? '' };
    clock.nowSec = testNowSec + 86_400;
    try {
      const late = () => adminToken({ sub: 'someone', permissions: [], exp: testNowSec + 90_000 });
      expect((await call({ token: late(), headers: session })).status).toBe(403);
      expect((await call({ token: late(), headers: session }, other)).status).toBe(403);
      expect((await call({ token: late(), capability: lasting })).status).toBe(200);
    } finally {
      clock.nowSec = testNowSec;
    }
  });

  it('is given to nobody who has no other name than the capability, so that no stranger can use that of another', async () => {
    const capability = tokenWith({ scope: 'tool:gateway/method:events.read' });
    for (const at of [gateway, other]) {
      const answer = await at.send('/api/events', { capability });
      expect([answer.status, answer.headers.has('x-talos-session')]).toEqual([200, false]);
    }
    const named = await gateway.send('/api/events', { capability, token: someone() });
    const session = named.headers.get('x-talos-session') ?? '';
    expect((await gateway.send('/api/events', { headers: { 'x-talos-session': session } })).status).toBe(403);
  });

  it('is kept for other gateways in a form that nobody can use who reads the database', async () => {
    const token = tokenWith({ scope: 'tool:weather', exp: testNowSec + 302 });
    const answer = await call({ token: someone(), capability: token });
    const dump = await dumpOf(gateway);
    expect(dump).toContain('stream_once');
    for (const secret of [token, answer.headers.get('x-talos-session') ?? '']) {
      expect(dump).not.toContain(secret);
      expect(dump).not.toContain(Buffer.from(secret).toString('hex'));
    }
  });

  it('that somebody changed in the database is none', async () => {
    const token = tokenWith({ scope: 'tool:weather', exp: testNowSec + 303 });
    const { headers } = await call({ token: someone(), capability: token });
    const session = { 'x-talos-session': headers.get('x-talos-session') ?? '' };
    await query(gateway.database.url, "UPDATE stream_once SET sealed = sealed || '\\x00' WHERE sealed IS NOT NULL");
    const there = await call({ token: someone(), headers: session }, other);
    expect([there.status, (there.body['details'] as JsonObject)['denial_reason']]).toEqual([403, 'NO_CAPABILITY']);
    expect((await call({ token: someone(), headers: session })).status).toBe(200);
  });

  it('is told to nobody whose capability is refused', async () => {
    const denied = await call({ token: someone(), capability: bound() });
    expect(denied.headers.has('x-talos-session')).toBe(false);
  });
});

describe('whatever the headers hold', () => {
  const text = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    maxLength: 80,
  });
  const piece = fc.oneof(
    text,
    fc.constantFrom(
      '',
      'Bearer',
      'tlk_',
      'eyJ',
      'eyJhbGciOiJFZERTQSJ9',
      'v1',
      'ed25519',
      '__proto__',
      holder.did,
      String(testNowSec),
    ),
    fc.base64String({ maxLength: 100 }),
    fc.tuple(text, text, text).map((parts) => parts.map((part) => Buffer.from(part).toString('base64url')).join('.')),
    fc.object({ maxDepth: 2 }).map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')),
  );
  const names = ['x-talos-capability', 'x-talos-session', ...Object.keys(signed())];

  it('there is no crash, no 5xx and no acceptance', async () => {
    const before = upstream.calls.length;
    const headers = fc.dictionary(fc.constantFrom(...names), piece, { maxKeys: 6 });
    await fc.assert(
      fc.asyncProperty(piece, headers, async (token, more) => {
        const answer = await call({ headers: { ...more, authorization: `Bearer ${token}` } });
        expect([401, 403]).toContain(answer.status);
        const asAdmin = await gateway.send('/admin/v1/api-keys', { headers: { ...more, authorization: token } });
        expect([401, 403]).toContain(asAdmin.status);
      }),
      { numRuns: 150 },
    );
    expect(upstream.calls.length).toBe(before);
  }, 60_000);

  it('nor when one header of a good request is another', async () => {
    const before = upstream.calls.length;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(signed())), piece, async (name, value) => {
        const headers = signed();
        fc.pre(headers[name] !== value.trim());
        expect((await call({ capability: bound(), headers: { ...headers, [name]: value } })).status).toBe(401);
      }),
      { numRuns: 100 },
    );
    expect(upstream.calls.length).toBe(before);
  }, 60_000);
});

describeVectors('the vectors of HTTP attestation', () => {
  interface Vector {
    readonly description: string;
    readonly input: {
      method: string;
      raw_path_query: string;
      raw_body_json: JsonObject | null;
      nonce: string;
      timestamp: number;
      opcode: string;
      private_key: string;
    };
    readonly expected: { signing_input_hex: string; signature: string; valid: boolean };
  }
  const { vectors } = vector<{ vectors: Vector[] }>('contracts/crypto/http_attestation_v1.json');

  it.each(vectors.map((entry) => [entry.description, entry] as const))('hold: %s', (_, { input, expected }) => {
    const parts = { ...input, body: input.raw_body_json, path: input.raw_path_query };
    const made = attestationInput({
      ...parts,
      body: parts.body === null ? '' : canonicalize(parts.body),
      target: parts.path,
      timestamp: String(parts.timestamp),
    });
    expect(made.toString('hex')).toBe(expected.signing_input_hex);
    const { body: json, ...rest } = parts;
    const headers = attest(issuerOfSeed(input.private_key), { ...rest, ...(json === null ? {} : { body: json }) });
    expect(headers['x-talos-signature']).toBe(expected.signature);
  });

  it('on nonces hold: the first is taken, the second is not', async () => {
    const { tests } = vector<{ tests: { nonce: string; expected: string }[] }>('contracts/crypto/replay_nonce.json');
    for (const { nonce, expected } of tests) {
      const { status } = await call({ capability: bound(), headers: signed({ nonce }) });
      expect(status).toBe(expected === 'accept' ? 200 : 401);
    }
  });
});
