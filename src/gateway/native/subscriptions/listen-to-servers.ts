/** What a client that listens hears from servers themselves: at its own address from that one, among all from several. */
import type { JsonObject, JsonValue } from '../../../core/json.ts';
import { foundServer, type ServerFor } from '../../server-for.ts';
import { uriAmongAll } from '../aggregate/names.ts';
import { patiently } from '../aggregate/patience.ts';
import type { ListenFilter } from './listen-filter.ts';
import type { Subscription } from './subscription.ts';

/** Resolves with what is honoured, as the client named it. Throws what the failure of the one server is. */
export async function listenToServers(serverFor: ServerFor, subscription: Subscription): Promise<JsonObject> {
  const { serverId, filter, caller } = subscription;
  if (serverId === undefined) return await listenToAll(serverFor, subscription);
  const wanted = wantedOf(filter, serverId);
  if (Object.keys(wanted).length === 0) return {};
  const { acknowledged } = await foundServer(serverFor, serverId, caller).listen({
    filter: wanted,
    onNotification: (method, params) => subscription.hear(serverId, method, params),
    onEnd: () => subscription.end('server_ended'),
    signal: subscription.signal,
  });
  const { toolsListChanged: _, ...honoured } = acknowledged as JsonObject & { readonly toolsListChanged?: JsonValue };
  return honoured;
}

function wantedOf({ promptsListChanged, resourcesListChanged, resourceSubscriptions }: ListenFilter, serverId: string) {
  const uris = resourceSubscriptions?.get(serverId);
  return {
    ...(promptsListChanged && { promptsListChanged }),
    ...(resourcesListChanged && { resourcesListChanged }),
    ...(uris && { resourceSubscriptions: uris }),
  };
}

/** Resources alone: of lists somebody else tells. Those of a server that is down or slow are not honoured. */
async function listenToAll(serverFor: ServerFor, subscription: Subscription): Promise<JsonObject> {
  const watched = [...(subscription.filter.resourceSubscriptions ?? [])];
  const heard = await Promise.all(watched.map(([id, uris]) => watchAt(serverFor, subscription, id, uris)));
  const uris = heard.flat();
  return uris.length === 0 ? {} : { resourceSubscriptions: uris };
}

async function watchAt(
  serverFor: ServerFor,
  subscription: Subscription,
  serverId: string,
  uris: readonly string[],
): Promise<string[]> {
  const late = new AbortController();
  const listening = await patiently(
    foundServer(serverFor, serverId, subscription.caller).listen({
      filter: { resourceSubscriptions: uris },
      onNotification(method, params) {
        if (method === 'notifications/resources/updated') subscription.hear(serverId, method, params);
      },
      // Nobody would tell of its resources any more, and the client can ask anew.
      onEnd: () => subscription.end('server_ended'),
      signal: AbortSignal.any([subscription.signal, late.signal]),
    }),
  );
  if (listening === undefined) late.abort();
  const { resourceSubscriptions } = (listening?.acknowledged ?? {}) as { readonly resourceSubscriptions?: JsonValue };
  if (!Array.isArray(resourceSubscriptions)) return [];
  return resourceSubscriptions.filter((uri) => typeof uri === 'string').map((uri) => uriAmongAll(serverId, uri));
}
