import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { committedEvent, type EventDraft, prepareEvent, sealEvent } from '../../src/core/audit-event.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { TalosError } from '../../src/core/errors.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject, JsonScalar } from '../../src/core/json.ts';
import { uuidv7, uuidv7Ms } from '../../src/core/uuidv7.ts';
import { draft } from '../support/drafts.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const eventId = '01945533-3158-7c85-992d-9865f1715694';

function seal(given: EventDraft, ms = uuidv7Ms(eventId)): string {
  return sealEvent(prepareEvent(given, bounds), eventId, ms);
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof TalosError) return error.code;
    throw error;
  }
  return undefined;
}

describe('prepareEvent refuses', () => {
  const frame = Buffer.byteLength(seal(draft({ meta: { x: '' } })));

  it('a record of one byte more than the bound, and takes one that just fits', () => {
    const room = bounds.recordBytesMax - frame;
    expect(Buffer.byteLength(seal(draft({ meta: { x: 'a'.repeat(room) } })))).toBe(bounds.recordBytesMax);
    expect(codeOf(() => seal(draft({ meta: { x: 'a'.repeat(room + 1) } })))).toBe('RECORD_TOO_LARGE');
  });

  it('a record by its bytes, not by its characters', () => {
    const count = Math.ceil((bounds.recordBytesMax - frame + 1) / 3);
    expect(codeOf(() => seal(draft({ meta: { x: '€'.repeat(count) } })))).toBe('RECORD_TOO_LARGE');
  });

  it('a record that only its escapes make too large', () => {
    expect(codeOf(() => seal(draft({ meta: { x: '\0'.repeat(bounds.recordBytesMax / 6) } })))).toBe('RECORD_TOO_LARGE');
  });

  it('details of one byte more than the bound, by their bytes', () => {
    const room = bounds.detailsBytesMax - '{"x":""}'.length;
    expect(prepareEvent(draft({ details: { x: 'a'.repeat(room) } }), bounds).details).toHaveLength(
      bounds.detailsBytesMax,
    );
    expect(codeOf(() => seal(draft({ details: { x: 'a'.repeat(room + 1) } })))).toBe('RECORD_TOO_LARGE');
    expect(codeOf(() => seal(draft({ details: { x: '€'.repeat(Math.ceil((room + 1) / 3)) } })))).toBe(
      'RECORD_TOO_LARGE',
    );
  });

  it.each<[string, Partial<EventDraft>]>([
    ['a lone surrogate in meta', { meta: { x: '\u{d83d}x'.replace('x', '') + String.fromCharCode(0xd800) } }],
    ['a lone surrogate in the request id', { requestId: String.fromCharCode(0xdc00) }],
    ['a lone surrogate in the resource', { resource: { type: 'event', id: String.fromCharCode(0xd800) } }],
    ['a lone surrogate in details', { details: { deep: [{ x: String.fromCharCode(0xd800) }] } }],
    ['NaN in meta', { meta: { x: Number.NaN } }],
    ['infinity in details', { details: { x: [Number.POSITIVE_INFINITY] } }],
  ])('%s', (_, given) => {
    expect(codeOf(() => seal(draft(given)))).toBe('INVALID_JSON');
  });
});

describe('the sealed record', () => {
  it('is canonical: exactly what RFC 8785 makes of its own content', () => {
    fc.assert(
      fc.property(anyDraft(), fc.nat({ max: 2 ** 42 }), (given, ms) => {
        const id = uuidv7({ ms, counter: 7 });
        const canon = sealEvent(prepareEvent(given, bounds), id, ms);
        expect(canonicalize(JSON.parse(canon))).toBe(canon);
        expect(committedEvent(3, id, canon)).toMatchObject({
          seq: 3,
          eventId: id,
          timeMs: ms,
          eventHash: sha256Hex(canon),
        });
      }),
      { numRuns: 1_000 },
    );
  });

  it('says what the draft said', () => {
    fc.assert(
      fc.property(anyDraft(), (given) => {
        const record = JSON.parse(seal(given)) as Record<string, JsonObject>;
        const { details_hash: detailsHash, ...meta } = record['meta'] as JsonObject;
        expect(JSON.stringify(meta)).toBe(canonicalize(given.meta as JsonObject));
        expect(detailsHash).toBe(given.details === undefined ? undefined : sha256Hex(canonicalize(given.details)));
        expect(record['resource']).toEqual({ resource_id: given.resource.id, resource_type: given.resource.type });
        expect(record['request_id']).toBe(given.requestId);
        expect(record['outcome']).toBe(given.outcome);
        expect(record['ts']).toBe(new Date(uuidv7Ms(eventId)).toISOString());
      }),
      { numRuns: 300 },
    );
  });

  it('never holds a null or undefined member that is not the value of a meta key', () => {
    const record = JSON.parse(seal(draft({ meta: { gone: undefined, kept: null } }))) as JsonObject;
    expect(record['meta']).toEqual({ kept: null });
    expect(Object.values(record)).not.toContain(null);
  });

  it('tells nothing of an anonymous caller but that', () => {
    const record = JSON.parse(seal(draft({ principal: { authMode: 'anonymous' } }))) as JsonObject;
    expect(record['principal']).toEqual({ auth_mode: 'anonymous', principal_id: 'anonymous' });
  });

  it('is bound to its details: others give another record', () => {
    const one = seal(draft({ details: { list: [1, 2] } }));
    expect(seal(draft({ details: { list: [1, 3] } }))).not.toBe(one);
    expect(seal(draft({ details: { list: [1, 2] } }))).toBe(one);
    expect((JSON.parse(one) as { meta: JsonObject }).meta['details_hash']).toBe(sha256Hex('{"list":[1,2]}'));
  });
});

describe('the keys', () => {
  it('are a projection of the record', () => {
    const meta = { session_id: 's', correlation_id: 'c', event_type: 'e', server_id: 'v', tool_name: 't' };
    expect(prepareEvent(draft({ meta }), bounds).keys).toEqual({
      surfaceId: 'events.submit',
      outcome: 'success',
      teamId: 'team-1',
      agentId: 'agent-1',
      sessionId: 's',
      correlationId: 'c',
      eventType: 'e',
      serverId: 'v',
      tool: 't',
    });
  });

  it('fall back to the request id for the correlation, and to nothing for the rest', () => {
    const { keys } = prepareEvent(draft({ principal: { authMode: 'anonymous' }, meta: { session_id: 5 } }), bounds);
    expect(keys).toMatchObject({ correlationId: 'req-1', sessionId: null, teamId: null, agentId: null, tool: null });
  });
});

interface AuditVector {
  readonly name: string;
  readonly event_without_hash: Record<string, JsonObject> & { readonly event_id: string; readonly ts: string };
  readonly canonical_bytes_hex: string;
  readonly event_hash: string;
}

describeVectors('public vectors', () => {
  const { tests } = vector<{ tests: AuditVector[] }>('contracts/audit_event_vectors.json');

  it.each(tests.map((test) => [test.name, test] as const))('%s', (_, test) => {
    const canon = canonicalize(test.event_without_hash as unknown as JsonObject);
    expect(Buffer.from(canon).toString('hex')).toBe(test.canonical_bytes_hex);
    expect(sha256Hex(canon)).toBe(test.event_hash);
  });

  const ours = tests.filter((test) => test.event_without_hash['principal']?.['auth_mode'] !== 'signed');

  // Our records always name a resource, which these do not: with it taken out again, the bytes must be theirs.
  it.each(ours.map((test) => [test.name, test] as const))('%s, made by a draft of ours', (_, test) => {
    const { event_id: id, ts } = test.event_without_hash;
    const canon = sealEvent(prepareEvent(draftOf(test), bounds), id, Date.parse(ts));
    const without = canon.replace(/,"resource":\{[^}]*\}/, '');
    expect(Buffer.from(without).toString('hex')).toBe(test.canonical_bytes_hex);
  });

  it('every record that we make is valid by the schema, with its hash', () => {
    const ajv = new Ajv2020({ allErrors: true, strict: false });
    addFormats.default(ajv);
    const validate = ajv.compile(vector<object>('schemas/audit/audit_event.schema.json'));
    fc.assert(
      fc.property(anyDraft(), fc.nat({ max: 2 ** 42 }), (given, ms) => {
        const canon = sealEvent(prepareEvent(given, bounds), uuidv7({ ms, counter: 0 }), ms);
        const record = { ...(JSON.parse(canon) as JsonObject), event_hash: sha256Hex(canon) };
        expect(validate(record), JSON.stringify(validate.errors)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});

function draftOf({ event_without_hash: event }: AuditVector): EventDraft {
  const text = (object: JsonObject | undefined, key: string) => object?.[key] as string;
  const { http, principal } = event;
  const ip = { hash: text(http, 'client_ip_hash'), keyId: text(http, 'client_ip_hash_key_id') };
  return {
    surfaceId: event['surface_id'] as unknown as string,
    requestId: event['request_id'] as unknown as string,
    outcome: event['outcome'] as unknown as EventDraft['outcome'],
    principal:
      principal?.['auth_mode'] === 'anonymous'
        ? { authMode: 'anonymous' }
        : { authMode: 'bearer', id: text(principal, 'principal_id'), teamId: text(principal, 'team_id') },
    http: {
      method: text(http, 'method'),
      path: text(http, 'path'),
      statusCode: http?.['status_code'] as number,
      ...(ip.hash === undefined ? {} : { clientIp: ip }),
    },
    resource: { type: 'none', id: 'none' },
    meta: event['meta'] as Record<string, JsonScalar>,
  };
}

/** Anything that a corridor may hand over within its own bounds, hostile text included. */
function anyDraft(): fc.Arbitrary<EventDraft> {
  const text = (maxLength: number) => fc.string({ unit: 'binary', minLength: 1, maxLength });
  const scalar = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
  );
  const bearer = fc.record({
    authMode: fc.constant('bearer' as const),
    id: text(100).filter((id) => id !== 'anonymous'),
    teamId: text(100),
  });
  const clientIp = fc.record({
    hash: fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 }),
    keyId: text(50),
  });
  const http = fc.record(
    {
      method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'),
      path: fc.constantFrom('/api/events', '/v1/mcp/servers/{server_id}/tools/{tool_name}:call'),
      statusCode: fc.integer({ min: 100, max: 599 }),
      clientIp,
    },
    { requiredKeys: ['method', 'path', 'statusCode'] },
  );
  return fc.record(
    {
      surfaceId: text(50),
      requestId: text(64),
      outcome: fc.constantFrom('success' as const, 'failure' as const, 'denied' as const),
      principal: fc.oneof(bearer, fc.constant({ authMode: 'anonymous' as const })),
      http,
      resource: fc.record({ type: text(40), id: text(100) }),
      meta: fc.dictionary(
        fc.string({ unit: 'binary', maxLength: 20 }).filter((key) => key !== '__proto__'),
        scalar,
        { maxKeys: 31 },
      ),
      details: fc.dictionary(fc.string({ maxLength: 10 }), fc.jsonValue({ stringUnit: 'binary' })),
    },
    { requiredKeys: ['surfaceId', 'requestId', 'outcome', 'principal', 'http', 'resource', 'meta'] },
  ) as fc.Arbitrary<EventDraft>;
}
