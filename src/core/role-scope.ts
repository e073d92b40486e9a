/** Where a role holds: everywhere, or in one team, on one path, for one secret. Deny by default: no match, no right. */

export const roleScopeTypes = ['global', 'team', 'repo', 'path', 'secret', 'trace'] as const;

export interface RoleScope {
  readonly scope_type: (typeof roleScopeTypes)[number];
  readonly attributes: Readonly<Record<string, string>>;
}

export const globalScope: RoleScope = { scope_type: 'global', attributes: {} };

/**
 * How closely a binding's scope fits what is asked, or undefined when it does not: a global one fits all and scores 0;
 * else the types are equal and every attribute of the binding is one of the request's, scoring 2 each, or 1 for `*`.
 */
export function scopeFit(binding: RoleScope, required: RoleScope): number | undefined {
  if (binding.scope_type === 'global') return 0;
  if (binding.scope_type !== required.scope_type) return undefined;
  let score = 0;
  for (const [name, value] of Object.entries(binding.attributes)) {
    if (!Object.hasOwn(required.attributes, name)) return undefined;
    if (value !== '*' && value !== required.attributes[name]) return undefined;
    score += value === '*' ? 1 : 2;
  }
  return score;
}
