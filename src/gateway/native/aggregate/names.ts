/**
 * What things are called at the address of all servers, where two servers may use the same name: tools and prompts
 * `<server>__<name>`, resources `talos+<server>+<uri>`. A prefix and nothing else, so that it comes off as it was put on,
 * and templates (RFC 6570) expand as their server means them.
 */

const separator = '__';

export function nameAmongAll(serverId: string, name: string): string {
  return serverId + separator + name;
}

/** The server and its own name for what is called `name`: of these servers the longest id that it begins with. */
export function ownName(name: string, serverIds: readonly string[]): readonly [serverId?: string, ownName?: string] {
  const ids = serverIds.filter((id) => name.startsWith(id + separator));
  const [id] = ids.sort((a, b) => b.length - a.length);
  return id === undefined ? [] : [id, name.slice(id.length + separator.length)];
}

/** Of a URI or a template of URIs; what becomes of it is one as well. */
export function uriAmongAll(serverId: string, uri: string): string {
  return prefixOf(serverId) + uri;
}

/** A URI of the address of all servers: whose it is, and as its server knows it. */
export interface OwnUri {
  readonly serverId: string;
  readonly uri: string;
}

const prefixed = /^talos\+([a-z0-9][a-z0-9.-]{0,62})\+(.+)$/s;

/** Undefined for what is no URI of this address. Whether there is such a server is not asked. */
export function ownUri(uri: string): OwnUri | undefined {
  const [, id, own] = prefixed.exec(uri) ?? [];
  return id === undefined || own === undefined ? undefined : { serverId: id.replaceAll('.', '_'), uri: own };
}

/** The text without the prefix of this server's URIs, where it begins with that; else as it is. */
export function withoutPrefix(serverId: string, text: string): string {
  const prefix = prefixOf(serverId);
  return text.startsWith(prefix) ? text.slice(prefix.length) : text;
}

/** It stays a scheme (RFC 3986): ids have no dots, and schemes no underscores. */
function prefixOf(serverId: string): string {
  return `talos+${serverId.replaceAll('_', '.')}+`;
}

export const resourcesAmongAll =
  'Among all servers a resource is called "talos+<server>+<its URI>", as resources/list and resources/templates/list show it; at /mcp/<server> it has its own URI.';
