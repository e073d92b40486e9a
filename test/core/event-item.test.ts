import { describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { type EventDraft, prepareEvent, sealEvent } from '../../src/core/audit-event.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { cursorOf } from '../../src/core/cursor.ts';
import { type LoggedEvent, toItem, toRecord } from '../../src/core/event-item.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { leafHash } from '../../src/core/merkle.ts';
import { uuidv7Ms } from '../../src/core/uuidv7.ts';
import { draft } from '../support/drafts.ts';

const eventId = '01945533-3158-7c85-992d-9865f1715694';

function logged(given: Partial<EventDraft> = {}): LoggedEvent {
  const prepared = prepareEvent(draft(given), bounds);
  const canon = sealEvent(prepared, eventId, uuidv7Ms(eventId));
  return { eventId, canon, leafHash: leafHash(canon), details: prepared.details };
}

describe('toRecord', () => {
  it('is the strict record with the hash that an outsider recomputes', () => {
    const event = logged({ meta: { event_type: 'x', n: 1 } });
    const { event_hash: eventHash, ...without } = toRecord(event);
    expect(canonicalize(without)).toBe(event.canon);
    expect(eventHash).toBe(sha256Hex(event.canon));
  });
});

describe('toItem', () => {
  it('has its place and time from the id', () => {
    const item = toItem(logged());
    const seconds = Math.floor(uuidv7Ms(eventId) / 1000);
    expect(item).toMatchObject({ event_id: eventId, id: eventId, timestamp: seconds, cursor: cursorOf(eventId) });
    expect(item['ts']).toBe(new Date(uuidv7Ms(eventId)).toISOString());
  });

  it.each([
    ['success', 'OK'],
    ['failure', 'ERROR'],
    ['denied', 'DENY'],
  ] as const)('says %s as %s', (outcome, word) => {
    expect(toItem(logged({ outcome }))['outcome']).toBe(word);
  });

  it('names a denial reason for denials only', () => {
    const meta = { denial_reason: 'SCOPE_MISMATCH' };
    expect(toItem(logged({ outcome: 'denied', meta }))['denial_reason']).toBe('SCOPE_MISMATCH');
    expect(toItem(logged({ outcome: 'success', meta }))).not.toHaveProperty('denial_reason');
  });

  it('shows details and meta together, and never lets details stand in for what the record says', () => {
    const details = { event_type: 'forged', nested: { list: [1] }, only: 'here' };
    const item = toItem(logged({ meta: { event_type: 'real' }, details }));
    expect(item['metadata']).toMatchObject({ event_type: 'real', nested: { list: [1] }, only: 'here' });
    expect(item['event_type']).toBe('real');
    expect(item['meta']).toEqual(item['metadata']);
    expect(item['payload']).toEqual(item['metadata']);
  });

  it('is harmless with a member named __proto__ in the details', () => {
    const item = toItem(logged({ details: JSON.parse('{"__proto__":{"polluted":1}}') as JsonObject }));
    expect((item['metadata'] as { polluted?: number }).polluted).toBeUndefined();
    expect(Object.keys(item['metadata'] as object)).toContain('__proto__');
  });

  it('has empty texts, and no nulls, for what an event does not say', () => {
    const item = toItem(logged({ principal: { authMode: 'anonymous' }, meta: {} }));
    expect(item).toMatchObject({
      session_id: '',
      tool: '',
      event_type: '',
      peer_id: '',
      agent_id: 'anonymous',
      metrics: {},
    });
    expect(JSON.stringify(item)).not.toContain('null');
    expect(item['principal']).toMatchObject({ id: 'anonymous', type: 'ANONYMOUS' });
  });

  it('falls back to the request id for the correlation', () => {
    expect(toItem(logged({ requestId: 'req-9' }))['correlation_id']).toBe('req-9');
    expect(toItem(logged({ requestId: 'req-9', meta: { correlation_id: 'c' } }))['correlation_id']).toBe('c');
  });

  it('is verified when the stored bytes are those that entered the tree', () => {
    expect(toItem(logged())['integrity']).toMatchObject({ proof_state: 'VERIFIED' });
    expect(toItem(logged())['integrity']).not.toHaveProperty('failure_reason');
  });

  it.each([
    ['a changed value', (canon: string) => canon.replace('"success"', '"failure"')],
    ['another order of keys', (canon: string) => canon.replace(/^\{("event_id":"[^"]+"),(.*)\}$/, '{$2,$1}')],
    ['a blank more', (canon: string) => canon.replace(',', ', ')],
  ])('is failed after %s', (_, tamper) => {
    const event = logged();
    const canon = tamper(event.canon);
    expect(canon).not.toBe(event.canon);
    expect(toItem({ ...event, canon })['integrity']).toMatchObject({
      proof_state: 'FAILED',
      failure_reason: 'VERIFIER_ERROR',
    });
  });

  it('has the same hash under all of its names', () => {
    const event = logged({ meta: { request_hash: 'a', response_hash: 'b', capability_hash: 'c', other: 'd' } });
    const hash = sha256Hex(event.canon);
    expect(toItem(event)).toMatchObject({
      integrity_hash: hash,
      event_hash: hash,
      hashes: { event_hash: hash, request_hash: 'a', response_hash: 'b', capability_hash: 'c' },
    });
  });
});
