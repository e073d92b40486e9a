/**
 * Who may do what of MCP that is not a tool call: by name (`tool:<server>/method:rpc.resources.read`), then by what is
 * sent. The same for what clients ask of servers and what servers ask of clients.
 */
import type { Denial } from '../core/denial.ts';
import type { JsonObject } from '../core/json.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { decideByName, decideCall, type PolicyMode } from '../policy/decide.ts';
import { spendsOf } from '../policy/limits.ts';
import type { Caller } from './caller.ts';

/** What of a request its rights depend on. */
export interface JudgedRpc {
  readonly caller: Caller;
  readonly serverId: string;
  readonly method: string;
  readonly params: JsonObject;
}

/** The name of a method in scopes: `resources/read` is `rpc.resources.read`. */
function scopeNameOf(method: string): string {
  return `rpc.${method.replaceAll('/', '.')}`;
}

/** The methods that are of one resource or prompt, and the member that names it. */
const namedBy: ReadonlyMap<string, string> = new Map([
  ['resources/read', 'uri'],
  ['resources/subscribe', 'uri'],
  ['resources/unsubscribe', 'uri'],
  ['prompts/get', 'name'],
]);

/**
 * What of a server it names, for scopes that are of one resource: exactly as it is sent, spelled as it is. Of other methods
 * nothing: a server does not heed what a caller adds to them, so it may not be what allows them.
 */
function resourceOf(method: string, params: JsonObject): { readonly resource?: string } {
  const member = namedBy.get(method);
  const resource = member === undefined ? undefined : params[member];
  return typeof resource === 'string' ? { resource } : {};
}

/** What servers heed of the params of the methods of which nothing is a path by itself. */
const heeded: ReadonlyMap<string, readonly string[]> = new Map([
  ['resources/list', ['cursor']],
  ['resources/templates/list', ['cursor']],
  ['prompts/list', ['cursor']],
  ['prompts/get', ['name', 'arguments']],
  ['completion/complete', ['ref', 'argument', 'context']],
  ['logging/setLevel', ['level']],
]);

function heededOf(method: string, params: JsonObject): JsonObject {
  const members = heeded.get(method);
  if (members === undefined) return params;
  return Object.fromEntries(Object.entries(params).filter(([name]) => members.includes(name)));
}

/** Whether the names allow it, of one resource or prompt where it is named: what a client is told that it can use. */
export function mayUse(method: string, serverId: string, caller: Caller, mode: PolicyMode, resource?: string): boolean {
  if (caller.denial !== undefined || spendsOf(caller.authority).length > 0) return false;
  const named = { server: serverId, method: scopeNameOf(method), ...(resource === undefined ? {} : { resource }) };
  return decideByName(named, caller, mode).allow;
}

export function judgeRpc({ caller, serverId, method, params }: JudgedRpc, mode: PolicyMode): Denial | undefined {
  if (caller.denial !== undefined) return caller.denial;
  const named = { server: serverId, method: scopeNameOf(method), ...resourceOf(method, params) };
  const byName = decideByName(named, caller, mode);
  if (!byName.allow) return byName.denial;
  // Uses are counted with the intents of tool calls, and there is none here.
  if (spendsOf(caller.authority).length > 0) return constraintDenial('constraint:max_calls');
  // Exactly what is sent: another member of the same name must not stand in for the one that counts. And what the server
  // heeds of it, for which a path that was added is not what makes it one inside the paths that are allowed.
  for (const judged of [params, heededOf(method, params)]) {
    const decision = decideCall(byName, { class: 'read' }, judged);
    if (!decision.allow) return decision.denial;
  }
  return undefined;
}
