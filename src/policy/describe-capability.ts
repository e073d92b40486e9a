/** A capability in words, for people: who, what, under which conditions, how long, and by whose leave. */
import { chainFault, isSignedByIssuer, scopesOf, validityOf } from '../core/capability.ts';
import { lineageOf } from '../core/capability-chain.ts';
import type { DecodedCapability } from '../core/capability-claims.ts';
import type { CapabilityClaims } from '../core/capability-forms.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import type { JsonValue } from '../core/json.ts';
import { anyValue, gatewayServer, type Scope, type ScopeValue } from '../core/scope.ts';
import { constraintFault, type SchemaCompiler } from './constraints.ts';

/** One token, in words. */
export interface LinkDescription {
  readonly hash: string;
  readonly form: DecodedCapability['form'];
  readonly id?: string;
  readonly issuer: string;
  readonly subject: string;
  readonly isSigned: boolean;
  readonly allows: readonly string[];
  readonly conditions: readonly string[];
  readonly times: readonly string[];
  /** What keeps it from being accepted, signature and trust apart. */
  readonly warnings: readonly string[];
}

export interface TokenDescription {
  /** Root first; the token itself alone when its chain cannot be read. */
  readonly links: readonly LinkDescription[];
  /** Why no gateway accepts the chain, signatures and trust apart. */
  readonly chainFault: Denial | undefined;
}

export interface DescribeOptions {
  readonly nowSec: number;
  readonly tokenCharsMax: number;
  readonly compileSchema: SchemaCompiler;
}

/** The token with all that it was derived from. It trusts nobody: it says what is claimed, and whether it is signed. */
export async function describeToken(token: DecodedCapability, options: DescribeOptions): Promise<TokenDescription> {
  const lineage = lineageOf(token, options.tokenCharsMax);
  const line = isDenial(lineage) ? [token] : lineage;
  return {
    links: await Promise.all(line.map((link) => describeLink(link, options))),
    chainFault: isDenial(lineage) ? lineage : chainFault(lineage),
  };
}

async function describeLink(link: DecodedCapability, options: DescribeOptions): Promise<LinkDescription> {
  const { claims, hash, form } = link;
  const constraints = Object.entries(claims.constraints ?? {});
  return {
    hash,
    form,
    ...(claims.id === undefined ? {} : { id: claims.id }),
    issuer: claims.iss,
    subject: claims.sub,
    isSigned: await isSignedByIssuer(link),
    allows: scopesOf(claims)?.map(describeScope) ?? [`nothing: the scope ${shown(claims.scope)} has no meaning here`],
    conditions: constraints.map(([name, value]) => describeCondition(name, value, options.compileSchema)),
    times: describeTimes(claims, options.nowSec),
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

/** What a constraint demands. */
export function describeConstraint(name: string, value: JsonValue): string {
  return Object.hasOwn(sentences, name) ? (sentences[name]?.(value) ?? '') : `${shown(name)} = ${shown(value)}`;
}

function describeCondition(name: string, value: JsonValue, compileSchema: SchemaCompiler): string {
  const sentence = describeConstraint(name, value);
  const fault = constraintFault(name, value, compileSchema);
  return fault === undefined ? sentence : `${sentence} — refuses every call here (${fault})`;
}

function describeTimes(claims: CapabilityClaims, nowSec: number): readonly string[] {
  const { issuedAtSec, notBeforeSec, expiresAtSec } = validityOf(claims);
  return [
    // One form does not say.
    ...(issuedAtSec === 0 ? [] : [`issued ${relative(issuedAtSec, nowSec)}`]),
    ...(notBeforeSec === 0 ? [] : [`counts from ${relative(notBeforeSec, nowSec)}`]),
    `${expiresAtSec <= nowSec ? 'expired' : 'expires'} ${relative(expiresAtSec, nowSec)}`,
  ];
}

function describeWarnings(claims: CapabilityClaims): readonly string[] {
  return [
    ...(claims.exp <= claims.iat ? ['It expires before it was issued, so it was never valid.'] : []),
    ...(claims.delegatable === true ? ['Its subject may pass it on.'] : []),
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
