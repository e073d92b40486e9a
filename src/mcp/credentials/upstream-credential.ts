/** The token that the gateway shows to a tool server, whoever it is of, and how a call fails for want of one. */
import type { McpServerSpec } from '../../core/mcp-server.ts';
import { needsUser } from '../../core/server-auth.ts';
import type { Deadline } from '../deadline.ts';
import { type CredentialErrorCode, UpstreamError } from '../upstream-error.ts';

/** A JWT that has just been verified, of whoever asks. */
export interface CallerToken {
  readonly reveal: () => string;
  /** Unix milliseconds. */
  readonly expiresAtMs: number;
}

export interface UpstreamCredential {
  /** The `Authorization` header, at once where it is known. Rejects with `UpstreamError`, not dispatched. */
  readonly header: (deadline: Deadline) => string | Promise<string>;
  /** Another one for a header that the server refused with 401. Rejects with `UpstreamError` when there is none. */
  readonly renewed: (refused: string, deadline: Deadline) => Promise<string>;
  /** The first account whose token was given, where that is a user's who may disconnect it, or connect another one. */
  readonly connectionId?: string | undefined;
  /** What it means when the server refuses the other one too. */
  readonly whenRefused: 'CONNECTION_EXPIRED' | 'CREDENTIAL_REFUSED';
  /** Takes over what the next token is made from, when it lasts longer than what is there. */
  readonly offer?: (token: CallerToken) => void;
}

/** Where users connect their account, and see whether it is. */
function connectionPath(serverId: string): string {
  return `/v1/mcp/servers/${serverId}/connection`;
}

/** `inside` must name no token. Nothing of the call was sent, or the server said that it did not process it. */
export function credentialError(code: CredentialErrorCode, serverId: string, inside?: string): UpstreamError {
  const isCuredByConnecting = code === 'CONNECTION_REQUIRED' || code === 'CONNECTION_EXPIRED';
  const details = {
    server_id: serverId,
    ...(isCuredByConnecting ? { connect: { method: 'POST', path: connectionPath(serverId) } } : {}),
  };
  return new UpstreamError(code, {
    dispatched: false,
    isOurs: true,
    details,
    ...(inside === undefined ? {} : { inside }),
  });
}

/** What a server that needs a user is asked with when there is none: nothing is sent. */
function nobody(serverId: string): UpstreamCredential {
  const refuse = async () => {
    throw credentialError('CONNECTION_REQUIRED', serverId, 'it is used with the credential of a user only');
  };
  return { header: refuse, renewed: refuse, whenRefused: 'CONNECTION_EXPIRED' };
}

/** What everybody's connection to a server shows it; undefined where its headers hold all there is. */
export function sharedCredential(
  spec: McpServerSpec,
  ofGateway: ((spec: McpServerSpec) => UpstreamCredential | undefined) | undefined,
): UpstreamCredential | undefined {
  if (spec.auth === undefined) return undefined;
  return (needsUser(spec) ? undefined : ofGateway?.(spec)) ?? nobody(spec.id);
}
