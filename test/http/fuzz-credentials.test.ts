/**
 * Credentials that were good before one thing was done to them, and first messages of WebSockets that are anything: no
 * crash, no 5xx, and nobody is let in. `TALOS_FUZZ_RUNS` says how often each property is tried.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyCapability } from '../../src/core/capability.ts';
import { isDenial } from '../../src/core/denial.ts';
import { didSet, didTalosFromPublicKey } from '../../src/core/did.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { chainOf, childToken, holders, rootToken } from '../support/delegation.ts';
import { productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { type RawAnswer, sendRaw } from '../support/http-raw.ts';
import { adminToken, attest, hs256 } from '../support/identity.ts';
import { issuerOfSeed, strangeIssuer, testNowSec, tokenOfText, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { connect, initMessage } from '../support/stream.ts';

const numRuns = Number(process.env['TALOS_FUZZ_RUNS'] ?? 120);
const runs = { numRuns };
const options = { trustedIssuers: didSet([trustedIssuer.did]), nowSec: testNowSec, skewSec: 60, tokenCharsMax: 16_384 };
const signer = issuerOfSeed('33'.repeat(32));
const events = 'tool:gateway/method:events.read';

let gateway: TestGateway;
let apiKey: string;

beforeAll(async () => {
  gateway = await startTestGateway({
    env: {
      ...productionEnv,
      TALOS_RATE_LIMIT: 'false',
      TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
      TALOS_ATTESTATION_KEYS: signer.did,
    },
    servers: { weather: 'http://127.0.0.1:9/' },
    clock: wallClock(),
  });
  const token = productionEnv.AUTH_ADMIN_SECRET;
  const made = await gateway.send('/admin/v1/api-keys', { token, json: { name: 'k', permissions: ['events:read'] } });
  apiKey = String(made.body['api_key']);
  const bindings = [{ role_id: 'PlatformAdmin', scope: 'global' }];
  await gateway.send('/admin/v1/rbac/bindings', { token, json: { principal_id: signer.did, bindings } });
});

afterAll(async () => {
  expect((await gateway?.send('/healthz'))?.status).toBe(200);
  expect(gateway.logText()).not.toContain('An internal error occurred');
  await gateway.stop();
});

/** `text` with something put in, cut out or turned over. */
const spoilt = (text: string) =>
  fc
    .tuple(fc.nat(), fc.string({ minLength: 1, maxLength: 3 }), fc.constantFrom('put', 'cut', 'turn', 'case', 'double'))
    .map(([seed, more, how]) => {
      const at = seed % text.length;
      if (how === 'put') return text.slice(0, at) + more + text.slice(at);
      if (how === 'cut') return text.slice(0, at) + text.slice(at + more.length);
      if (how === 'turn') return text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
      if (how === 'case') return text.slice(0, at) + swapped(text.slice(at));
      return text + text.slice(at);
    })
    .filter((other) => other !== text);

const swapped = (text: string) =>
  text.replaceAll(/[a-z]/gi, (letter) => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase()));

// What a header can carry: anything else is for the parser of HTTP, which refuses it.
const inHeader = (text: string) => text.replaceAll(/[\r\n\0]/g, ' ').trim();

async function ask(headers: Readonly<Record<string, string>>, path = '/api/events', body = ''): Promise<RawAnswer> {
  const fields = { host: 'localhost', connection: 'close', ...headers };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${inHeader(value)}\r\n`);
  const content = body === '' ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  const method = body === '' ? 'GET' : 'POST';
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join('')}${content}\r\n`;
  return await sendRaw(gateway.url, Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)]));
}

function expectRefused({ status, body }: RawAnswer): void {
  if (status < 400 || status >= 500) throw new Error(`${status}: ${body}`);
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

describe('an API key', () => {
  it('that is not exactly one is refused', async () => {
    expect((await ask(bearer(apiKey))).status).toBe(200);
    const wrong = fc.oneof(
      spoilt(apiKey),
      fc.string({ unit: 'binary', maxLength: 60 }).map((text) => `tlk_${text}`),
      fc.base64String({ minLength: 40, maxLength: 60 }).map((text) => `tlk_${text}`),
      fc.constantFrom(
        'tlk_',
        `tlk_${'A'.repeat(43)}`,
        `tlk_${'A'.repeat(9_000)}`,
        `tlk_${apiKey}`,
        `${apiKey},${apiKey}`,
      ),
    );
    await fc.assert(
      fc.asyncProperty(wrong, fc.constantFrom('/api/events', '/admin/v1/me'), async (key, path) => {
        if (inHeader(`Bearer ${key}`).replace(/^Bearer +/, '') === apiKey) return;
        expectRefused(await ask(bearer(key), path));
      }),
      runs,
    );
  });
});

describe('a JWT', () => {
  const claims = { sub: 'x', iat: testNowSec, exp: testNowSec + 600, permissions: ['*:*'] };
  const member = fc.constantFrom('alg', 'typ', 'kid', 'jku', 'jwk', 'x5u', 'x5c', 'crit', 'b64', 'zip', 'enc', 'cty');
  const value = fc.oneof(
    fc.constantFrom('none', 'None', 'HS256', 'hs256', 'HS384', 'RS256', 'ES256', 'EdDSA', 'PS256', 'A128KW', ''),
    fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<JsonValue>,
    fc.constantFrom(['b64'], { kty: 'oct', k: 'AA' }, 'http://127.0.0.1:9/keys'),
  );
  const header = fc.dictionary(member, value, { maxKeys: 4 });

  it('that nobody signed who may is refused, whatever its head says', async () => {
    const secrets = [
      '',
      'x',
      'null',
      'undefined',
      trustedIssuer.did,
      trustedIssuer.publicKey.export({ format: 'der', type: 'spki' }),
    ];
    await fc.assert(
      fc.asyncProperty(header, fc.constantFrom(...secrets), fc.boolean(), async (head, secret, isCut) => {
        const token = hs256(claims, secret, head);
        const given = isCut ? `${token.split('.').slice(0, 2).join('.')}.` : token;
        for (const path of ['/api/events', '/admin/v1/me']) expectRefused(await ask(bearer(given), path));
      }),
      runs,
    );
  });

  it('that was good before its head or its claims were changed is refused', async () => {
    const good = adminToken(claims);
    expect((await ask(bearer(good))).status).toBe(200);
    const [head = '', payload = '', signature = ''] = good.split('.');
    const other = (part: string, changes: JsonObject) => {
      const object = JSON.parse(Buffer.from(part, 'base64url').toString()) as JsonObject;
      return Buffer.from(JSON.stringify({ ...object, ...changes })).toString('base64url');
    };
    await fc.assert(
      fc.asyncProperty(
        header,
        fc.dictionary(fc.constantFrom('sub', 'exp', 'permissions', 'x'), value),
        async (h, c) => {
          const token = [other(head, h as JsonObject), other(payload, c as JsonObject), signature].join('.');
          if (token !== good) expectRefused(await ask(bearer(token)));
        },
      ),
      runs,
    );
    await fc.assert(
      fc.asyncProperty(spoilt(good), async (token) => {
        if (inHeader(token) !== good) expectRefused(await ask(bearer(token)));
      }),
      runs,
    );
  });
});

describe('a chain of capabilities', () => {
  const good = chainOf(2);
  const wider: JsonObject = {
    scope: 'tool:* tool:gateway',
    exp: testNowSec + 90_000,
    sub: 'did:talos:other',
    constraints: {},
  };
  const change = fc.oneof(
    fc.constantFrom(...Object.entries(wider)).map(([name, to]) => ({ [name]: to })),
    fc.dictionary(
      fc.constantFrom(
        'scope',
        'sub',
        'iss',
        'exp',
        'iat',
        'nbf',
        'delegatable',
        'constraints',
        'delegation_chain',
        'sig',
        'v',
        'x',
      ),
      fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<JsonValue>,
      { minKeys: 1, maxKeys: 2 },
    ),
  );

  /** The token with the link at `depth` (0 is the last) changed, and every signature as it was. */
  function changed(token: string, depth: number, changes: JsonObject): string {
    const object = JSON.parse(Buffer.from(token, 'base64url').toString()) as JsonObject;
    if (depth === 0) return tokenOfText(JSON.stringify({ ...object, ...changes }));
    const [parent, ...others] = object['delegation_chain'] as string[];
    if (parent === undefined) return changed(token, 0, changes);
    return tokenOfText(
      JSON.stringify({ ...object, delegation_chain: [changed(parent, depth - 1, changes), ...others] }),
    );
  }

  it('is good, and refused when any link says anything else', async () => {
    expect(isDenial(await verifyCapability(good, options))).toBe(false);
    const meaning = (token: string) => JSON.stringify(JSON.parse(Buffer.from(token, 'base64url').toString()), null, 1);
    await fc.assert(
      fc.asyncProperty(fc.nat(2), change, async (depth, changes) => {
        const token = changed(good, depth, changes as JsonObject);
        if (meaning(token) === meaning(good)) return;
        expect(isDenial(await verifyCapability(token, options))).toBe(true);
      }),
      { numRuns: numRuns * 4 },
    );
    await fc.assert(
      fc.asyncProperty(spoilt(good), async (token) => {
        expect(isDenial(await verifyCapability(token, options))).toBe(true);
      }),
      { numRuns: numRuns * 2 },
    );
  });

  it('is refused at the door too, as the bearer and beside one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          spoilt(good),
          fc.tuple(fc.nat(2), change).map(([at, to]) => changed(good, at, to as JsonObject)),
        ),
        async (token) => {
          if (token === good || token.length > 16_000) return;
          const call = '/v1/mcp/servers/weather/tools/x:call';
          expectRefused(await ask(bearer(token), call, '{"input":{}}'));
          expectRefused(
            await ask(
              { ...bearer(adminToken({ permissions: [] })), 'x-talos-capability': token },
              call,
              '{"input":{}}',
            ),
          );
        },
      ),
      runs,
    );
  });

  it('gives its holder no more than it has, whatever they sign', async () => {
    const parent = chainOf(1);
    const sibling = rootToken({ scope: 'tool:git', sub: holders[1].did });
    const own = childToken(holders[1], [], {
      iss: holders[1].did,
      sub: holders[1].did,
      scope: 'tool:*',
      delegatable: true,
    });
    const forged = childToken(strangeIssuer, [], {
      iss: trustedIssuer.did,
      sub: holders[1].did,
      scope: 'tool:*',
      delegatable: true,
    });
    const piece = fc.constantFrom(parent, sibling, own, forged, rootToken(), good, 'x', '');
    // Half of the chains are right, since what is wrong otherwise hardly ever meets one.
    const chains = fc.oneof(fc.constant([parent]), fc.array(piece, { maxLength: 4 }));
    const claims = fc.record(
      {
        iss: fc.constantFrom(
          holders[1].did,
          didTalosFromPublicKey(holders[1].publicKey),
          trustedIssuer.did,
          holders[0].did,
        ),
        sub: fc.constantFrom('did:talos:agent', holders[1].did, trustedIssuer.did),
        scope: fc.constantFrom(
          'tool:weather',
          'tool:weather/method:x',
          'tool:*',
          'tool:git',
          'tool:weather tool:git',
          'tool:gateway',
          'tool:weather/method:*',
        ),
        exp: fc.integer({ min: testNowSec - 200, max: testNowSec + 9_000 }),
        constraints: fc.constantFrom({}, { team_id: '*' }, { team_id: 'other' }, { team_id: 'default' }),
        delegatable: fc.boolean(),
      },
      { requiredKeys: ['iss'] },
    );
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(chains, claims, async (chain, changes) => {
        const verified = await verifyCapability(childToken(holders[1], chain, changes), options);
        if (isDenial(verified)) return;
        accepted++;
        expect(verified.links[0]?.issuer).toBe(trustedIssuer.did);
        // Whatever root it is, the child stays within it.
        const { server } = verified.links[0]?.scopes[0] ?? {};
        for (const scope of verified.scopes) expect(scope.server).toBe(server);
        expect(verified.expiresAtSec).toBeLessThanOrEqual(testNowSec + 3_500);
        expect(verified.teamId).toBe('default');
      }),
      { numRuns: numRuns * 8, examples: [[[parent], { iss: holders[1].did }]] },
    );
    expect(accepted, 'a child that is right').toBeGreaterThan(0);
  });
});

describe('a signed request', () => {
  const path = '/api/events';
  const names = ['key-id', 'timestamp', 'nonce', 'signature', 'sig-alg', 'sig-version'].map(
    (name) => `x-talos-${name}`,
  );
  const signed = () => attest(signer, { path, opcode: 'events.list' });

  it('is refused when one of its headers is anything else, is missing or is there twice', async () => {
    expect((await ask(signed())).status).toBe(200);
    const text = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.string({ unit: 'binary', maxLength: 20 }),
      fc.constantFrom(
        '',
        '0',
        '-1',
        '1e9',
        `${testNowSec}.0`,
        ` ${testNowSec}`,
        'ed25519 ',
        'Ed25519',
        'v1,v1',
        'none',
        strangeIssuer.did,
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), fc.option(text), fc.nat(), async (name, other, seed) => {
        const good = signed();
        const { [name]: was = '', ...rest } = good;
        const value =
          other === null ? `${was.slice(0, seed % was.length)}${was.slice((seed % was.length) + 1)}` : inHeader(other);
        // Surrounding blanks are no part of a header's value.
        if (value.trim() === was) return;
        // A nonce is whatever the signer says, and was signed as it is.
        expectRefused(await ask(value === '' ? rest : { ...rest, [name]: value }));
      }),
      { numRuns: numRuns * 2 },
    );
  });

  it('is refused with another body, path, query or method', async () => {
    const body = { scope: 'x' };
    const call = '/v1/mcp/servers/weather/tools/x:call';
    const other = fc.oneof(
      fc.json(),
      fc.string(),
      fc.constantFrom('{"input":{"a":1,"a":1}}', '{"input":{}}{}', ' ', '{"input":{"a":1.0}}'),
    );
    await fc.assert(
      fc.asyncProperty(
        other,
        fc.constantFrom(call, `${call}?x=1`, `${call}%20`, '/v1/mcp/servers/weather/tools/y:call'),
        async (text, target) => {
          const headers = attest(signer, { path: call, opcode: 'mcp.tools.call', body: { input: { a: 1, ...body } } });
          expectRefused(await ask(headers, target, text || '{}'));
        },
      ),
      runs,
    );
  });
});

describe('the first message of a WebSocket', () => {
  const ts = new Date(testNowSec * 1000).toISOString();
  const name = fc.constantFrom(
    'type',
    'version',
    'capability',
    'nonce',
    'ts',
    'filters',
    'cursor',
    'resume',
    'extra',
    '__proto__',
  );
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom('init', 'INIT', 1, '1', 2, 'talos_read_allow', 'cap_test', '', 'x'.repeat(20_000), [], {}, null),
    spoilt(tokenWith({ scope: events })),
  );
  const frame = fc.oneof(
    fc.dictionary(name, value, { maxKeys: 4 }).map((changes) => JSON.stringify({ ...initMessage({ ts }), ...changes })),
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom('', '{', '[]', 'null', '"init"', '{"type":"init","type":"init"}', '['.repeat(5_000)),
  );

  it('opens nothing without a credential, and is answered in the words of the protocol', async () => {
    await fc.assert(
      fc.asyncProperty(frame, async (text) => {
        const client = await connect(gateway);
        client.raw(text);
        const code = await client.closed;
        const types = client.messages.map(({ type }) => type);
        if (types.some((type) => type !== 'error')) throw new Error(JSON.stringify(client.messages));
        for (const { code: word, message } of client.of('error'))
          expect([typeof word, typeof message]).toEqual(['string', 'string']);
        // 1011 would be a fault of the gateway.
        expect([code, code]).not.toContain(1011);
      }),
      { numRuns: Math.ceil(numRuns / 2) },
    );
  });

  it('shows whoever may no more than they may, and ends as the protocol says', async () => {
    const capability = tokenWith({ scope: events, constraints: { team_id: 'empty' } });
    await fc.assert(
      fc.asyncProperty(frame, async (text) => {
        const client = await connect(gateway, { headers: bearer(capability) });
        client.raw(text);
        await Promise.race([client.closed, client.next('init_ack').catch(() => undefined)]);
        // Of this team there are the sessions of this test alone.
        for (const item of client.items()) expect(JSON.stringify(item)).toContain('"empty"');
        const code = await client.close();
        expect(code).not.toBe(1011);
      }),
      { numRuns: Math.ceil(numRuns / 4) },
    );
  });
});
