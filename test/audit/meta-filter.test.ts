import { describe, expect, it } from 'vitest';
import { filterMeta } from '../../src/audit/meta-filter.ts';
import { type SurfaceId, surfaceOf, surfaces } from '../../src/core/surfaces.ts';
import { draft } from '../support/drafts.ts';

describe('filterMeta', () => {
  it('drops what the surface does not list, and says which keys it were', () => {
    const given = draft({ surfaceId: 'mcp.tools.call', meta: { tool_name: 't', zebra: 1, arguments: 'secret' } });
    expect(filterMeta(given).meta).toEqual({
      tool_name: 't',
      meta_redaction_applied: true,
      meta_redacted_keys: 'arguments, zebra',
    });
  });

  it('never lets a dropped value through', () => {
    const meta = {
      password: 'hunter2',
      Tool_Name: 'hunter2',
      'tool_name ': 'hunter2',
      meta_redaction_applied: 'hunter2',
    };
    const filtered = filterMeta(draft({ surfaceId: 'mcp.tools.call', meta }));
    expect(JSON.stringify(filtered)).not.toContain('hunter2');
  });

  it('drops everything of a surface that lists nothing', () => {
    const filtered = filterMeta(draft({ surfaceId: 'health.healthz', meta: { a: 1 } }));
    expect(filtered.meta).toEqual({ meta_redaction_applied: true, meta_redacted_keys: 'a' });
  });

  it('drops everything of a surface that does not exist', () => {
    for (const surfaceId of ['no.such.surface', '__proto__', 'toString', '']) {
      const filtered = filterMeta(draft({ surfaceId, meta: { a: 1 } }));
      expect(filtered.meta).toEqual({ meta_redaction_applied: true, meta_redacted_keys: 'a' });
    }
  });

  it('does not speak of keys that are absent', () => {
    const given = draft({ surfaceId: 'mcp.tools.call', meta: { tool_name: 't', unknown: undefined } });
    expect(filterMeta(given)).toBe(given);
  });

  it('leaves alone what clients submit', () => {
    for (const surfaceId of ['events.submit', 'events.submit.batch', 'events.submit.log']) {
      const given = draft({ surfaceId, meta: { anything: 1 } });
      expect(filterMeta(given)).toBe(given);
    }
  });

  it('leaves alone what the surface lists', () => {
    for (const id of Object.keys(surfaces) as SurfaceId[]) {
      const keys = surfaceOf(id).metaKeys;
      if (keys === 'any') continue;
      const given = draft({ surfaceId: id, meta: Object.fromEntries(keys.map((key) => [key, 'x'])) });
      expect(filterMeta(given)).toBe(given);
    }
  });
});
