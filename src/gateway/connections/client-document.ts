/**
 * The gateway as a client of the authorization servers of its tool servers, by the addresses that name it: where users come
 * back to, and the document that it publishes of itself (Client ID Metadata Document).
 */
import { isIP } from 'node:net';
import { clientMetadata, isLoopback } from '../../mcp/credentials/oauth-registration.ts';
import { isPublicAddress } from '../../mcp/network/dial.ts';

/** Where users of this server come back to. One of its own for each server, so that nothing passes for another's answer. */
export function redirectUriOf(base: string, serverId: string): string {
  return `${base}/v1/mcp/oauth/callback/${serverId}`;
}

/**
 * What the gateway says of itself as a client for this server's users, at the address that names it. Undefined without an
 * address of its own under which authorization servers can ask for it.
 */
export function clientDocument(publicUrl: string | undefined, serverId: string) {
  const base = baseOf(publicUrl);
  if (base === undefined || !isReachable(base)) return undefined;
  return {
    client_id: `${base}/v1/mcp/oauth/client/${serverId}`,
    ...clientMetadata({ publicUrl: base, redirectUri: redirectUriOf(base, serverId) }),
    token_endpoint_auth_method: 'none',
  };
}

/** The operator's address of the gateway, without a slash at its end. */
export function baseOf(publicUrl: string | undefined): string | undefined {
  return publicUrl?.replace(/\/+$/, '');
}

function isReachable(base: string): boolean {
  const { protocol, hostname } = new URL(base);
  const address = hostname.replace(/^\[|\]$/g, '');
  const isPublic = isIP(address) === 0 ? !isLoopback(base) : isPublicAddress(address);
  return protocol === 'https:' && isPublic;
}
