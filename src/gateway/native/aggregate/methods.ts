/**
 * The methods of MCP that are not tools, at the address of all servers: each goes to the server whose prompt or resource it
 * names, in that server's own words, and is judged and recorded as what it is there.
 */
import { deny } from '../../../core/denial.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../../core/json.ts';
import { mayUse } from '../../rpc-authority.ts';
import type { Outcome } from '../answer.ts';
import { invalidParams, type Method, type MethodOptions } from '../methods/method.ts';
import { relayTo, type Target } from '../methods/relay-to.ts';
import type { Turn } from '../turn.ts';
import { ownArguments } from './content.ts';
import { ownUri, resourcesAmongAll } from './names.ts';
import { namedAmongAll, serverIdsFor } from './servers.ts';

/** Where a request goes, or what is wrong with it. */
type Aim = Target | { readonly wrong: string };

/** What a method names, and its params as the server that is meant has them. */
type AimAt = (options: MethodOptions, turn: Turn, params: JsonObject) => Aim;

const aimAtPrompt: AimAt = (options, turn, { name = null, ...params }: JsonObject & { name?: JsonValue }) => {
  const [serverId, own] = typeof name === 'string' ? namedAmongAll(options, turn, name) : [];
  if (serverId === undefined || own === undefined) return { wrong: unknownPrompt };
  const args = params['arguments'];
  return { serverId, params: { ...params, name: own, ...(args && { arguments: ownArguments(serverId, args) }) } };
};

const unknownPrompt =
  'Unknown prompt. Among all servers a prompt is called "<server>__<its name>", as prompts/list shows it.';

const aimAtResource: AimAt = (_, __, { uri: named = null, ...params }: JsonObject & { uri?: JsonValue }) => {
  const own = typeof named === 'string' ? ownUri(named) : undefined;
  return own === undefined
    ? { wrong: `Unknown resource. ${resourcesAmongAll}` }
    : { serverId: own.serverId, params: { ...params, uri: own.uri } };
};

const aimAtReference: AimAt = (options, turn, { ref = null, ...params }: JsonObject & { ref?: JsonValue }) => {
  const { type = null, ...named } = isJsonObject(ref) ? (ref as JsonObject & { type?: JsonValue }) : {};
  const aimAt = references.get(type);
  if (aimAt === undefined) return { wrong: 'completion/complete needs a ref of the type ref/prompt or ref/resource.' };
  const aim = aimAt(options, turn, named);
  if ('wrong' in aim) return aim;
  return { serverId: aim.serverId, params: { ...params, ref: { type, ...aim.params } } };
};

const references: ReadonlyMap<JsonValue, AimAt> = new Map([
  ['ref/prompt', aimAtPrompt],
  ['ref/resource', aimAtResource],
]);

function relayAt(aimAt: AimAt): Method {
  return async (options, turn, rpc) => {
    const aim = aimAt(options, turn, rpc.params);
    return 'wrong' in aim ? invalidParams(aim.wrong) : await relayTo(options, turn, rpc, aim);
  };
}

/** What is watched is kept: its server may lose its part of the session. */
const subscribe: Method = async (options, turn, rpc) => {
  const aim = aimAtResource(options, turn, rpc.params);
  if ('wrong' in aim) return invalidParams(aim.wrong);
  const [settings, uri] = [turn.session?.settings, String(aim.params['uri'])];
  const isOn = rpc.method === 'resources/subscribe';
  if (isOn && settings?.hasRoomFor(aim.serverId, uri) === false) return invalidParams(tooManyWatched);
  // Whatever the server says, or if there is none any more, the client wants it no longer.
  if (!isOn) settings?.unwatch(aim.serverId, uri);
  const outcome = await relayTo(options, turn, rpc, aim);
  if (isOn && outcome.error === undefined) settings?.watch(aim.serverId, uri);
  return outcome;
};

const tooManyWatched = 'This session watches as many resources as it may. Unsubscribe from some of them first.';

const levels: readonly unknown[] = [
  ...['debug', 'info', 'notice', 'warning'],
  ...['error', 'critical', 'alert', 'emergency'],
];

/** For every server that the session comes to, and at once for those that it has come to. */
const setLevel: Method = async (options, turn, { method, params }): Promise<Outcome> => {
  const { policyMode, refuse, tellSettings } = options;
  const { caller, facts, session } = turn;
  const { level } = params;
  if (typeof level !== 'string' || !levels.includes(level)) {
    return invalidParams(`logging/setLevel needs a level, one of ${levels.join(', ')}.`);
  }
  const isHeard = serverIdsFor(options, caller).some((id) => mayUse(method, id, caller, policyMode));
  if (!isHeard) {
    const asked = { rpc_method: method };
    return await refuse('mcp.methods.relay', deny('SCOPE_MISMATCH', 'scope'), caller, facts, asked, 'mcp.native.all');
  }
  if (session !== undefined) {
    session.settings.level = level;
    await Promise.all(session.parts().map(tellSettings.level));
  }
  return { result: {} };
};

export const aggregateMethods: readonly (readonly [string, Method])[] = [
  ['prompts/get', relayAt(aimAtPrompt)],
  ['resources/read', relayAt(aimAtResource)],
  ['completion/complete', relayAt(aimAtReference)],
];

/** What changes something that lasts, which only a session does. */
export const aggregateOfSessions: readonly (readonly [string, Method])[] = [
  ['logging/setLevel', setLevel],
  ['resources/subscribe', subscribe],
  ['resources/unsubscribe', subscribe],
];
