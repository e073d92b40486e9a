/**
 * Whatever is sent: no crash, no 5xx, nothing accepted from a stranger, and every refusal in the shape of all others.
 * `TALOS_FUZZ_RUNS` says how often each property is tried.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeBase64url, encodeBase64url } from '../../src/core/base64url.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { verifyCapability } from '../../src/core/capability.ts';
import { isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { type SurfaceId, surfaceOf, surfaces } from '../../src/core/surfaces.ts';
import { productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { type RawAnswer, sendRaw } from '../support/http-raw.ts';
import { adminToken } from '../support/identity.ts';
import { goodClaims, jwsOf, testNowSec, tokenWith, trustedIssuer } from '../support/issuer.ts';

const numRuns = Number(process.env['TALOS_FUZZ_RUNS'] ?? 150);
const runs = { numRuns };

const routed = Object.keys(surfaces)
  .map((id) => id as SurfaceId)
  .filter((id) => !surfaceOf(id).template.startsWith('/internal/'));

/** Open to everybody: what asks for no right, records nothing by itself, and belongs neither to tools nor to administration. */
function isPublic(id: SurfaceId): boolean {
  const { action, auditMode, template } = surfaceOf(id);
  return action === undefined && auditMode !== 'each' && !/^\/(?:admin|mcp|v1\/mcp)\b/.test(template);
}

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway({
    env: { ...productionEnv, TALOS_RATE_LIMIT: 'false' },
    servers: { tested: 'http://127.0.0.1:9/' },
    clock: wallClock(),
  });
});
afterAll(async () => {
  // It is still there, and did nothing that it could not explain.
  expect((await gateway?.send('/healthz'))?.status).toBe(200);
  expect(gateway.logText()).not.toContain('An internal error occurred');
  await gateway.stop();
});

const good = tokenWith({ scope: 'tool:* tool:gateway' });
const goodJws = jwsOf(goodClaims({ scope: 'tool:* tool:gateway' }));
const options = { trustedIssuers: didSet([trustedIssuer.did]), nowSec: testNowSec, skewSec: 60, tokenCharsMax: 16_384 };

/** A good token with one thing done to it. */
const spoilt = fc
  .tuple(fc.constantFrom(good, goodJws), fc.nat(), fc.string({ maxLength: 3 }), fc.constantFrom('put', 'cut', 'turn'))
  .map(([token, seed, text, how]) => {
    const at = seed % token.length;
    if (how === 'cut') return token.slice(0, at) + token.slice(at + 1 + text.length);
    if (how === 'put') return token.slice(0, at) + (text || '=') + token.slice(at);
    return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
  })
  .filter((token) => token !== good && token !== goodJws);

const jsonText = fc.json({ maxDepth: 4 });
const anyToken = fc.oneof(
  spoilt,
  fc.string(),
  fc.string({ unit: 'binary' }),
  jsonText.map((text) => encodeBase64url(Buffer.from(text))),
  fc.tuple(jsonText, jsonText, fc.string()).map((parts) => parts.map((p) => encodeBase64url(Buffer.from(p))).join('.')),
  fc.string({ minLength: 43, maxLength: 43 }).map((text) => `tlk_${text}`),
  fc.constantFrom('null', 'undefined', '[object Object]', '__proto__', 'eyJhbGciOiJub25lIn0.e30.'),
);

describe('a token', () => {
  it('that is not exactly a good one is denied, and never throws', async () => {
    await fc.assert(
      fc.asyncProperty(anyToken, async (token) => {
        expect(isDenial(await verifyCapability(token, options))).toBe(true);
      }),
      { numRuns: numRuns * 4 },
    );
    expect(isDenial(await verifyCapability(good, options))).toBe(false);
    expect(isDenial(await verifyCapability(goodJws, options))).toBe(false);
  });

  it('whose claims are anything is denied', async () => {
    const claims = fc.dictionary(fc.constantFrom(...Object.keys(goodClaims()), 'constraints', 'sig'), fc.jsonValue());
    await fc.assert(
      fc.asyncProperty(claims, async (changes) => {
        const object = { ...goodClaims(), sig: 'A'.repeat(86), ...(changes as JsonObject) };
        const token = encodeBase64url(Buffer.from(JSON.stringify(object)));
        expect(isDenial(await verifyCapability(token, options))).toBe(true);
      }),
      runs,
    );
  });

  it('has one spelling in base64url', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.string(), (bytes, text) => {
        const spelt = encodeBase64url(Buffer.from(bytes));
        expect(decodeBase64url(spelt)).toEqual(Buffer.from(bytes));
        const other = decodeBase64url(text);
        if (other !== undefined) expect(encodeBase64url(other)).toBe(text);
      }),
      runs,
    );
  });
});

it('canonical JSON reads as what was written, and is its own canonical form', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const normal = JSON.parse(JSON.stringify(value)) as JsonValue;
      let text: string;
      try {
        text = canonicalize(normal);
      } catch {
        // What is no I-JSON has none.
        expect(JSON.stringify(normal)).toMatch(/\\ud[89a-f]/i);
        return;
      }
      expect(canonicalize(JSON.parse(text) as JsonValue)).toBe(text);
    }),
    runs,
  );
});

/** What a header can carry over the wire: any byte but line ends and NUL. */
const headerText = fc
  .oneof(
    anyToken,
    anyToken.map((token) => `Bearer ${token}`),
    fc.constantFrom(
      'Bearer',
      'Bearer ',
      'bearer\t',
      'Basic a',
      `Bearer ${good}, Bearer ${good}`,
      '-1',
      '9'.repeat(400),
      '',
    ),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  )
  .map((text) => text.replaceAll(/[\r\n\0]/g, ' '));

const headerNames = [
  'authorization',
  'x-talos-capability',
  'x-talos-session',
  'x-talos-key-id',
  'x-talos-timestamp',
  'x-talos-nonce',
  'x-talos-signature',
  'x-talos-sig-alg',
  'x-talos-sig-version',
  'x-talos-admin-secret',
  'mcp-protocol-version',
  'mcp-method',
  'mcp-name',
  'mcp-session-id',
  'x-request-id',
  'idempotency-key',
  'last-event-id',
  'x-forwarded-for',
  'origin',
  'prefer',
  'cookie',
  'accept',
  'if-none-match',
  'traceparent',
] as const;

const headers = fc.dictionary(fc.constantFrom(...headerNames), headerText, { maxKeys: 5 });

const segment = fc.oneof(
  fc.string({ maxLength: 20 }).map(encodeURIComponent_),
  fc.constantFrom(
    '..',
    '.',
    '%2e%2e',
    '%00',
    '%',
    '%zz',
    '%ff',
    '%c0%af',
    '__proto__',
    'constructor',
    '*',
    ':call',
    'a%2Fb',
  ),
  fc.uuid({ version: 7 }),
  fc.constantFrom('0', '-1', '1e9', '000.p/256', 'x001/000', '9'.repeat(300)),
);

// Lone surrogates have no encoding.
function encodeURIComponent_(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

const queryNames = [
  'limit',
  'before',
  'after_cursor',
  'cursor',
  'from',
  'to',
  'ticket',
  'wait',
  'format',
  'team_id',
  'x',
];
const query = fc
  .array(fc.tuple(fc.constantFrom(...queryNames), segment), { maxLength: 4 })
  .map((pairs) => (pairs.length === 0 ? '' : `?${pairs.map((pair) => pair.join('=')).join('&')}`));

interface Sent {
  readonly id: SurfaceId;
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const body = fc.oneof(
  { arbitrary: jsonText, weight: 4 },
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', '{', '[]', 'null', '{"jsonrpc":"2.0","id":1,"method":"tools/list"}', '{"a":1,"a":2}'),
);

const sent: fc.Arbitrary<Sent> = fc
  .record({
    id: fc.constantFrom(...routed),
    segments: fc.array(segment, { minLength: 3, maxLength: 3 }),
    query,
    headers,
    body,
  })
  .map(({ id, segments, query: search, headers: given, body: text }) => {
    const { method, template } = surfaceOf(id);
    let at = 0;
    const path = template.replaceAll(/\{[^}]+\}/g, () => segments[at++] ?? 'x');
    return { id, method, target: path + search, headers: given, body: method === 'GET' ? '' : text };
  });

async function send({ method, target, headers: given, body: text }: Sent): Promise<RawAnswer> {
  const bytes = Buffer.from(text);
  const fields = { host: 'localhost', connection: 'close', ...given, 'content-type': 'application/json' };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = text === '' ? '' : `content-length: ${bytes.length}\r\n`;
  const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}${length}\r\n`, 'latin1');
  return await sendRaw(gateway.url, Buffer.concat([head, bytes]));
}

/** A 5xx that says what is not configured or not there, in the words of the table. */
const explained = new Set(['ISSUER_NOT_CONFIGURED', 'API_KEYS_DISABLED', 'GATEWAY_ERROR']);

function check(answer: RawAnswer, what: Sent): void {
  const value = answer.headers['content-type']?.startsWith('application/json') ? parsed(answer.body) : {};
  const code = String(value['code']);
  if (answer.status >= 500 && !what.target.startsWith('/health')) {
    expect([answer.status, code, what]).toEqual([501, expect.toSatisfy((word: string) => explained.has(word)), what]);
  }
  expect(answer.headers['x-content-type-options']).toBe('nosniff');
  if (answer.status < 400 || answer.headers['content-type'] === undefined) return;
  if (what.target.startsWith('/health') || 'jsonrpc' in value) return;
  expect(value).toMatchObject({
    code: expect.any(String),
    message: expect.any(String),
    retryable: expect.any(Boolean),
  });
}

function parsed(text: string): JsonObject {
  // A chunked body is not taken apart: what matters is inside of its first chunk.
  const start = text.indexOf('{');
  const end = text.lastIndexOf('}');
  return start === -1 ? {} : (JSON.parse(text.slice(start, end + 1)) as JsonObject);
}

describe('a request with anything in its headers, its path, its query and its body', () => {
  it('is answered, and opens nothing that is not open', async () => {
    await fc.assert(
      fc.asyncProperty(sent, async (what) => {
        const answer = await send(what);
        check(answer, what);
        if (!isPublic(what.id) && answer.status < 300) throw new Error(`${answer.status}: ${answer.body}`);
      }),
      { numRuns: numRuns * 3 },
    );
  });

  it('of somebody who may everything is answered as well', async () => {
    const authorization = `Bearer ${adminToken({ permissions: ['*:*'] })}`;
    const streams = new Set<string>(['/events', '/api/events/sse', '/api/events/stream', '/mcp/{server_id}/sse']);
    await fc.assert(
      fc.asyncProperty(
        sent.filter(({ id }) => !streams.has(surfaceOf(id).template)),
        async (what) => {
          const { 'x-talos-key-id': _, ...given } = what.headers;
          const plain = Object.fromEntries(Object.entries(given).filter(([name]) => !name.startsWith('x-talos-')));
          const mine = { ...what, headers: { ...plain, authorization } };
          check(await send(mine), mine);
        },
      ),
      { numRuns: numRuns * 3 },
    );
  });
});
