/** The kinds of surfaces that there are many of, and what a surface says. */

/**
 * How a surface is recorded: `each` request by a record that is durable before the answer; `summary` for reads, of which
 * a record a minute says how many there were; `none` for what carries no action of anybody (documentation).
 */
export type AuditMode = 'each' | 'summary' | 'none';

export interface Surface {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path template as it appears in records, with `{name}` for parameters. */
  readonly template: string;
  readonly auditMode: AuditMode;
  /** The action in capability scopes, as `tool:gateway/method:<action>`; absent when the surface asks for none. */
  readonly action?: string;
  /** `meta` keys that a record of this surface may carry; `any` where the client chooses them. */
  readonly metaKeys: readonly string[] | 'any';
}

// By what right it was asked, as far as the caller has a name.
export const rightKeys = ['capability_hash', 'by_api_key', 'carried_permissions'] as const;
export const denialKeys = ['denial_reason', 'denial_detail', ...rightKeys, 'event_type', 'code'] as const;

export const health = (template: string): Surface => ({ method: 'GET', template, auditMode: 'summary', metaKeys: [] });
export const docs = (template: string): Surface => ({ method: 'GET', template, auditMode: 'none', metaKeys: [] });
export const readEvents = (template: string): Surface => ({
  method: 'GET',
  template,
  auditMode: 'summary',
  action: 'events.read',
  metaKeys: denialKeys,
});
export const writeEvents = (template: string): Surface => ({
  method: 'POST',
  template,
  auditMode: 'each',
  action: 'events.write',
  metaKeys: 'any',
});
// Hashes and signatures, which reveal nothing of what they are of: open to everybody.
export const readLog = (template: string): Surface => ({ method: 'GET', template, auditMode: 'summary', metaKeys: [] });
export const readAdmin = (template: string, action: string): Surface => ({
  method: 'GET',
  template,
  auditMode: 'summary',
  action,
  metaKeys: denialKeys,
});
export const writeAdmin = (template: string, action: string, metaKeys: readonly string[] = []): Surface => ({
  method: 'POST',
  template,
  auditMode: 'each',
  action,
  metaKeys: [...denialKeys, ...metaKeys],
});
export const deleteAdmin = (template: string, action: string): Surface => ({
  ...writeAdmin(template, action),
  method: 'DELETE',
});
export const readMcp = (template: string): Surface => ({
  method: 'GET',
  template,
  auditMode: 'summary',
  metaKeys: denialKeys,
});

/** What the gateway records of itself, without a request. */
export const internal = (id: string, metaKeys: readonly string[]): Surface => ({
  method: 'POST',
  template: `/internal/${id}`,
  auditMode: 'each',
  metaKeys,
});
