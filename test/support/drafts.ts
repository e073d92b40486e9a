/** Events for the tests of the log: a plain one, and texts that try to break out of wherever they are put. */
import { bounds } from '../../src/config/bounds.ts';
import { type EventDraft, type PreparedEvent, prepareEvent } from '../../src/core/audit-event.ts';

/** A draft of a submitted event with some of its parts replaced. */
export function draft(given: Partial<EventDraft> = {}): EventDraft {
  return {
    surfaceId: 'events.submit',
    requestId: 'req-1',
    outcome: 'success',
    principal: { authMode: 'bearer', id: 'agent-1', teamId: 'team-1' },
    http: { method: 'POST', path: '/api/events', statusCode: 200 },
    resource: { type: 'event', id: 'thing' },
    meta: {},
    ...given,
  };
}

export function prepared(given: Partial<EventDraft> = {}): PreparedEvent {
  return prepareEvent(draft(given), bounds);
}

/** `count` events that differ in `meta.n`. */
export function numbered(count: number, from = 0): PreparedEvent[] {
  return Array.from({ length: count }, (_, index) => prepared({ meta: { n: from + index } }));
}

/** What has a meaning to COPY, to SQL, to JSON or to an index, and characters of every width. */
export const hostileTexts: readonly string[] = [
  '\t',
  '\n',
  '\r\n',
  '\\',
  '\\.',
  '\n\\.\n',
  '\\N',
  '\\x00',
  '\\t',
  '\0',
  'a\0b',
  "'; DROP TABLE audit_event; --",
  '"',
  '""\\"',
  '$1',
  '$$',
  '%s{}',
  '\u0001\u001f\u007f\u0085\u2028\u2029\ufeff',
  '😀',
  '😀'.repeat(512),
  'a'.repeat(1024),
  `a${'😀'.repeat(511)}`,
  '\uffff'.repeat(1024),
  '\u{10ffff}'.repeat(512),
  '\t'.repeat(1024),
  '\\'.repeat(1024),
  '\0'.repeat(1024),
  '__proto__',
  '{"event_id":"x","ts":"y"}',
];
