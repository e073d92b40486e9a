/** The methods of MCP as the native endpoint serves them, each by the corridor of its REST twin. */
import { TalosError } from '../../../core/errors.ts';
import { serverInfoKey } from '../../../mcp/protocol/hello.ts';
import { clientHello, servedVersions, sessionVersions } from '../../../mcp/protocol/inbound.ts';
import { aggregateLists } from '../aggregate/lists.ts';
import { aggregateMethods, aggregateOfSessions } from '../aggregate/methods.ts';
import type { RpcRequest } from '../answer.ts';
import type { Turn } from '../turn.ts';
import type { Method } from './method.ts';
import { relay } from './relay-to.ts';
import { toolsCall, toolsList } from './tool-methods.ts';

const initialize: Method = async ({ hello, sessions }, turn, { params }) => {
  if (turn.session !== undefined) {
    throw new TalosError('INVALID_REQUEST', { message: 'This session is initialized already.' });
  }
  const requested = params['protocolVersion'];
  const isServed = typeof requested === 'string' && sessionVersions.includes(requested);
  const protocolVersion = isServed ? requested : (sessionVersions[0] ?? '');
  const about = await hello(turn, 'session');
  const { caller, facts, serverId, reauthenticate } = turn;
  const session = await sessions.open({
    ...{ caller, facts, reauthenticate, protocolVersion },
    client: clientHello(params['clientInfo'], params['capabilities']),
    ...(serverId === undefined ? {} : { serverId }),
  });
  return { result: { protocolVersion, ...about }, sessionId: session.id };
};

const discover: Method = async ({ hello }, turn) => {
  const { serverInfo, ...about } = await hello(turn, 'stateless');
  const _meta = { [serverInfoKey]: serverInfo };
  return { result: { supportedVersions: [...servedVersions], ...about, _meta } };
};

const ping: Method = async () => ({ result: {} });

const listen: Method = ({ subscriptions }, turn, rpc) => subscriptions.listen(turn, rpc);

/** What each era has for itself. */
const ofEra: Record<RpcRequest['era'], ReadonlyMap<string, Method>> = {
  session: new Map([
    ['initialize', initialize],
    ['ping', ping],
  ]),
  stateless: new Map([
    ['server/discover', discover],
    ['subscriptions/listen', listen],
  ]),
};

/** The methods of an address, in both eras; some of them only in sessions. */
interface Face {
  readonly always: ReadonlyMap<string, Method>;
  readonly inSessions: ReadonlyMap<string, Method>;
}

const tools: readonly (readonly [string, Method])[] = [
  ['tools/list', toolsList],
  ['tools/call', toolsCall],
];

const ofAll: Face = {
  always: new Map([...tools, ...aggregateLists, ...aggregateMethods]),
  inSessions: new Map(aggregateOfSessions),
};

/** The same methods, as one server has them. */
const ofOne: Face = {
  always: new Map([...[...ofAll.always.keys()].map((method) => [method, relay] as const), ...tools]),
  inSessions: new Map([...ofAll.inSessions.keys()].map((method) => [method, relay])),
};

export function methodOf({ era, method }: RpcRequest, { serverId, session }: Turn): Method | undefined {
  const { always, inSessions } = serverId === undefined ? ofAll : ofOne;
  return ofEra[era].get(method) ?? always.get(method) ?? (session === undefined ? undefined : inSessions.get(method));
}
