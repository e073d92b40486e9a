/**
 * What a capability grants: `tool:<server>[/method:<tool>][/resource:<pattern>]`. Values are compared case-sensitively
 * and whole; `*` stands for any value, and only alone. In values `%`, `/`, `:` and `*` are percent-encoded.
 */

/** Stands for every value. A symbol, so that a tool that is really named `*` cannot be mistaken for it. */
export const anyValue: unique symbol = Symbol('any value');

export type ScopeValue = string | typeof anyValue;

/** A part that is absent grants everything below the parts that are there. */
export interface Scope {
  readonly server: ScopeValue;
  readonly method?: ScopeValue;
  readonly resource?: ScopeValue;
}

export interface ScopeRequest {
  readonly server: string;
  /** The tool's name, or the name of an MCP method as `rpc.<method>`. Absent when the whole server is meant. */
  readonly method?: string;
  readonly resource?: string;
}

/** Not a tool server: its methods are the gateway's own actions (`events.read`, `events.write`, `admin.<permission>`). */
export const gatewayServer = 'gateway';

export const serverIdPattern = /^(?!.*__)[a-z0-9][a-z0-9_-]{0,62}$/;

/**
 * Whether `scope` grants `request`. An empty name is never granted. `tool:*` means every tool server and not the
 * gateway itself: who grants all tools does not mean to grant the administration.
 */
export function scopeCovers(scope: Scope, request: ScopeRequest): boolean {
  if (request.server === '' || request.method === '') return false;
  if (!scopeReaches(scope, request.server)) return false;
  return partCovers(scope.method, request.method) && partCovers(scope.resource, request.resource);
}

/** Whether `scope` grants anything at all on `server`. */
export function scopeReaches(scope: Scope, server: string): boolean {
  return scope.server === anyValue ? server !== gatewayServer : scope.server === server;
}

/** Whether everything that `narrower` grants is granted by `wider`: what a delegated capability must satisfy. */
export function scopeWithin(narrower: Scope, wider: Scope): boolean {
  if (narrower.server === anyValue ? wider.server !== anyValue : !scopeReaches(wider, narrower.server)) return false;
  return partWithin(narrower.method, wider.method) && partWithin(narrower.resource, wider.resource);
}

function partWithin(narrower: ScopeValue | undefined, wider: ScopeValue | undefined): boolean {
  if (wider === undefined) return true;
  return wider === anyValue ? narrower !== undefined : narrower === wider;
}

function partCovers(granted: ScopeValue | undefined, requested: string | undefined): boolean {
  if (granted === undefined) return true;
  return granted === anyValue ? requested !== undefined : granted === requested;
}

const scopePattern = /^tool:([^/:]+)(?:\/method:([^/:]+))?(?:\/resource:([^/:]+))?$/;

/** The scope that `text` spells, or undefined when it is not one. */
export function parseScope(text: string): Scope | undefined {
  const match = scopePattern.exec(text);
  if (match === null) return undefined;
  try {
    return readScope(match[1], match[2], match[3]);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

function readScope(serverText = '', methodText?: string, resourceText?: string): Scope | undefined {
  const server = decodeValue(serverText);
  if (server !== anyValue && !serverIdPattern.test(server)) return undefined;
  return {
    server,
    ...(methodText === undefined ? {} : { method: decodeValue(methodText) }),
    ...(resourceText === undefined ? {} : { resource: decodeValue(resourceText) }),
  };
}

// A scope starts after a blank. Unambiguous, because a value cannot hold the colon of `tool:`.
const betweenScopes = / (?=tool:)/;

/** The texts of the scopes that stand in one. */
export function splitScopes(text: string): readonly string[] {
  return text.split(betweenScopes);
}

/** Several scopes in one text, separated by single blanks. Undefined when one of them is malformed. */
export function parseScopes(text: string): readonly Scope[] | undefined {
  const scopes = splitScopes(text).map(parseScope);
  return scopes.every((scope) => scope !== undefined) ? scopes : undefined;
}

/** The text of a scope; `parseScope` gives the same scope back. */
export function formatScope(scope: Scope): string {
  const method = scope.method === undefined ? '' : `/method:${encodeValue(scope.method)}`;
  const resource = scope.resource === undefined ? '' : `/resource:${encodeValue(scope.resource)}`;
  return `tool:${encodeValue(scope.server)}${method}${resource}`;
}

function encodeValue(value: ScopeValue): string {
  if (value === anyValue) return '*';
  return value.replace(/[%/:*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

function decodeValue(text: string): ScopeValue {
  if (text === '*') return anyValue;
  if (text.includes('*')) throw new URIError('a star that is not the whole value');
  return decodeURIComponent(text);
}
