/** A capability in words, for people: who, what, under which conditions, and how long. */

import { scopesOf, validityOf } from '../src/core/capability.ts';
import type { CapabilityClaims } from '../src/core/capability-claims.ts';
import type { JsonValue } from '../src/core/json.ts';
import { anyValue, gatewayServer, type Scope, type ScopeValue } from '../src/core/scope.ts';
import { constraintFault } from '../src/policy/constraints.ts';

export interface CapabilityDescription {
  readonly allows: readonly string[];
  readonly conditions: readonly string[];
  readonly times: readonly string[];
  /** What keeps it from being accepted, signature and trust apart. */
  readonly warnings: readonly string[];
}

export function describeCapability(claims: CapabilityClaims, nowSec: number): CapabilityDescription {
  const constraints = Object.entries(claims.constraints ?? {});
  return {
    allows: scopesOf(claims)?.map(describeScope) ?? [`nothing: the scope ${shown(claims.scope)} has no meaning here`],
    conditions: constraints.map(([name, value]) => describeConstraint(name, value)),
    times: describeTimes(claims, nowSec),
    warnings: describeWarnings(claims),
  };
}

function describeScope(scope: Scope): string {
  const resource = scope.resource === undefined ? '' : `, for ${named('resource', scope.resource)} only`;
  if (scope.server === gatewayServer) return `${describeActions(scope.method)} of the gateway itself${resource}`;
  const server = scope.server === anyValue ? 'every tool server' : `the server ${scope.server}`;
  return scope.method === undefined
    ? `everything on ${server}${resource}`
    : `${tool(scope.method)} on ${server}${resource}`;
}

function describeActions(method: ScopeValue | undefined): string {
  return method === undefined || method === anyValue ? 'every action' : `the action ${shown(method)}`;
}

function tool(method: ScopeValue): string {
  const rpc = typeof method === 'string' && method.startsWith('rpc.');
  return rpc ? `the MCP method ${shown(method.slice('rpc.'.length))}` : named('tool', method);
}

function named(noun: string, value: ScopeValue): string {
  return value === anyValue ? `every ${noun}` : `the ${noun} ${shown(value)}`;
}

const sentences: Readonly<Record<string, (value: JsonValue) => string>> = {
  team_id: (value) => (value === '*' ? 'acts for all teams' : `acts for the team ${shown(value)}`),
  nbf: () => 'has a first moment of its own (see below)',
  server: (value) => `only on the server ${shown(value)}`,
  tool: (value) => `only on the server ${shown(value)}`,
  method: (value) => `only the tool ${shown(value)}`,
  allowed_tools: (value) => `only the tools ${shown(value)}`,
  bearer: (value) => (value === true ? 'whoever holds it may use it' : 'only with proof of the subject’s key'),
  read_only: (value) => (value === true ? 'only tools that are classified as reading' : 'reading and writing'),
  paths: (value) => `only where every path in the arguments matches ${shown(value)}`,
  schema_hash: (value) => `only while the tool's input schema has the hash ${shown(value)}`,
  definition_hash: (value) => `only while the tool's definition has the hash ${shown(value)}`,
  rate_limit: (value) => `at most ${shown(value)}`,
  max_calls: (value) => `at most ${shown(value)} calls in all`,
  input_schema: () => 'only with arguments that satisfy a JSON Schema in the token',
};

function describeConstraint(name: string, value: JsonValue): string {
  const sentence = sentences[name]?.(value) ?? `${shown(name)} = ${shown(value)}`;
  const fault = constraintFault(name, value);
  return fault === undefined ? sentence : `${sentence} — refuses every call here (${fault})`;
}

function describeTimes(claims: CapabilityClaims, nowSec: number): readonly string[] {
  const { issuedAtSec, notBeforeSec, expiresAtSec } = validityOf(claims);
  return [
    `issued ${relative(issuedAtSec, nowSec)}`,
    ...(notBeforeSec === 0 ? [] : [`counts from ${relative(notBeforeSec, nowSec)}`]),
    `${expiresAtSec <= nowSec ? 'expired' : 'expires'} ${relative(expiresAtSec, nowSec)}`,
  ];
}

function describeWarnings(claims: CapabilityClaims): readonly string[] {
  return [
    ...(claims.exp <= claims.iat ? ['It expires before it was issued, so it was never valid.'] : []),
    ...(claims.delegatable === true ? ['Its subject may pass it on.'] : []),
    ...((claims.delegation_chain?.length ?? 0) > 0
      ? ['It was delegated, which this gateway does not accept yet.']
      : []),
  ];
}

const spans = [
  ['year', 31_557_600],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
] as const;

/** `in 59 minutes (2026-01-01T00:00:00Z)`, in the largest unit that fits. */
function relative(timeSec: number, nowSec: number): string {
  const distance = Math.abs(timeSec - nowSec);
  const [unit, unitSec] = spans.find(([, seconds]) => distance >= seconds) ?? ['second', 1];
  const count = Math.round(distance / unitSec);
  const amount = `${count} ${unit}${count === 1 ? '' : 's'}`;
  const iso = new Date(timeSec * 1000).toISOString().replace('.000Z', 'Z');
  return `${timeSec > nowSec ? `in ${amount}` : `${amount} ago`} (${iso})`;
}

// Quoted as JSON, so that control characters in a token cannot play tricks on the terminal.
function shown(value: JsonValue): string {
  if (typeof value === 'string' && /^[\w.@/:*+-]+$/.test(value)) return value;
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
