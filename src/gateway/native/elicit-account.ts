/**
 * A user who has to connect their account first: a client that can open addresses for its user is given the one to open
 * (MCP 2025-11-25, elicitation in URL mode); every other one is told where there is one.
 */
import { randomUUID } from 'node:crypto';
import { TalosError } from '../../core/errors.ts';
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import { rpcCodes } from '../../mcp/protocol/json-rpc.ts';
import type { ConnectServer } from '../connections/connect-server.ts';
import { gatewayError, type Outcome } from './answer.ts';
import type { Turn } from './turn.ts';

export interface ElicitAccountOptions {
  readonly connectServer: Pick<ConnectServer, 'start'>;
}

/** What the gateway refuses or fails at, with the address that cures it where the client can be told one. */
export async function gatewayOutcome(options: ElicitAccountOptions, turn: Turn, error: TalosError): Promise<Outcome> {
  const outcome = gatewayError(error, turn.facts);
  const elicitation = await elicitationOf(options, turn, error);
  if (elicitation === undefined) return outcome;
  const data = { ...(outcome.error?.['data'] as JsonObject), elicitations: [elicitation] };
  return { ...outcome, error: { ...outcome.error, code: rpcCodes.urlElicitationRequired, data } };
}

async function elicitationOf(
  { connectServer }: ElicitAccountOptions,
  { caller, facts, base, session }: Turn,
  { details = {}, message }: TalosError,
): Promise<JsonObject | undefined> {
  const { connect, server_id: serverId } = details;
  if (connect === undefined || typeof serverId !== 'string' || base === undefined || !opensUrls(session))
    return undefined;
  try {
    const { authorizationUrl } = await connectServer.start({ caller, facts, serverId }, base);
    return { mode: 'url', elicitationId: randomUUID(), url: authorizationUrl, message };
  } catch (error) {
    // Then there is no address to give, and what was refused says so already.
    if (error instanceof TalosError) return undefined;
    throw error;
  }
}

function opensUrls(session: Turn['session']): boolean {
  const elicitation = session?.opening.client.capabilities['elicitation'];
  return isJsonObject(elicitation) && isJsonObject(elicitation['url']);
}
