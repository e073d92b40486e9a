/**
 * What a tool server asks of a client: sampling, elicitation, roots. It is authorised like what the client asks of the
 * server, limited, and on record before the server gets the reply.
 */
import type { Recorder } from '../../../audit/recorder.ts';
import { canonicalize } from '../../../core/canonical-json.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Denial } from '../../../core/denial.ts';
import { describeError, TalosError } from '../../../core/errors.ts';
import { sha256Hex } from '../../../core/hash.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { TakeCharges } from '../../../core/limit.ts';
import { surfaceHttp } from '../../../core/surface-http.ts';
import { rpcCodes } from '../../../mcp/protocol/json-rpc.ts';
import { type ClientHello, canBeAsked, type PeerReply } from '../../../mcp/protocol/peer.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import type { Caller, RequestFacts } from '../../caller.ts';
import { overLimit } from '../../over-limit.ts';
import { denialMeta } from '../../refusal.ts';
import { rpcHash } from '../../request-hash.ts';
import { rightMeta } from '../../right-meta.ts';
import { judgeRpc } from '../../rpc-authority.ts';

export interface AskOptions {
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly recorder: Pick<Recorder, 'record' | 'ensureWritable'>;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

/**
 * Puts a question to the client, and resolves with its reply: with undefined when it gave none in time, or `signal` was
 * aborted. Never rejects.
 */
export type Put = (
  method: string,
  params: JsonObject,
  signal: AbortSignal,
) => Promise<PeerReply | ReturnType<typeof unheard> | undefined>;

export interface ServerRequest {
  /** Who is asked, and by which way. */
  readonly client: ClientHello;
  readonly put: Put;
  /** Of the session that it belongs to, for its record. */
  readonly sessionName: string;
  readonly server: McpServer;
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly method: string;
  readonly params: JsonObject;
  /** Aborted when the server no longer waits. */
  readonly signal: AbortSignal;
}

/** Never rejects: what fails is an error for the server. */
export type AskClient = (request: ServerRequest) => Promise<PeerReply>;

/** What became of a server's request: `kind` is what the metric counts. */
type Outcome =
  | { readonly kind: 'answered' | 'declined'; readonly reply: PeerReply }
  | { readonly kind: 'denied'; readonly denial: Denial }
  | { readonly kind: 'failed' | 'unanswered' | 'unheard'; readonly error: TalosError };

export function createAskClient(options: AskOptions): AskClient {
  return async (request) => {
    if (!canBeAsked(request.client, request.method)) {
      options.telemetry.serverRequest('unsupported');
      return failure(rpcCodes.methodNotFound, 'The client does not offer this.');
    }
    const startedAtMs = options.clock.monotonic();
    try {
      const outcome = await attempt(options, request);
      await record(options, request, outcome, Math.round(options.clock.monotonic() - startedAtMs));
      options.telemetry.serverRequest(outcome.kind);
      return replyOf(outcome);
    } catch (error) {
      options.telemetry.serverRequest('failed');
      options.telemetry.log.warn(
        { server: request.server.id, reason: describeError(error) },
        'what a tool server asked of a client could not be recorded',
      );
      return failure(rpcCodes.internal, 'The gateway cannot pass this on now.');
    }
  };
}

async function attempt(options: AskOptions, request: ServerRequest): Promise<Outcome> {
  const { caller, server, method, params } = request;
  const denial = judgeRpc({ caller, serverId: server.id, method, params }, options.policyMode);
  options.telemetry.decided(denial);
  if (denial !== undefined) return { kind: 'denied', denial };
  const limited = await overLimit(options.take, caller, server);
  if (limited !== undefined) return { kind: 'failed', error: limited };
  // No record, no reply: nobody is asked for what could not be passed on.
  await options.recorder.ensureWritable();
  return await ask(request);
}

async function ask({ put, method, params, signal }: ServerRequest): Promise<Outcome> {
  if (signal.aborted) return { kind: 'unanswered', error: failureOf('The server did not wait.') };
  const said = await put(method, params, signal);
  if (said === undefined) return { kind: 'unanswered', error: failureOf('The client did not answer.') };
  if ('unheard' in said) return { kind: 'unheard', error: failureOf(said.unheard) };
  return { kind: 'error' in said ? 'declined' : 'answered', reply: said };
}

function failureOf(message: string): TalosError {
  return new TalosError('CLIENT_UNANSWERED', { message });
}

/** Why there is no way to the client. */
export function unheard(why: string): { readonly unheard: string } {
  return { unheard: why };
}

async function record(
  { recorder }: AskOptions,
  { sessionName, server, caller, facts, method, params }: ServerRequest,
  outcome: Outcome,
  latencyMs: number,
): Promise<void> {
  await recorder.record({
    surfaceId: 'mcp.server.request',
    requestId: facts.requestId,
    principal: caller.principal,
    outcome: outcome.kind === 'denied' ? 'denied' : outcome.kind === 'answered' ? 'success' : 'failure',
    http: surfaceHttp('mcp.server.request', outcome.kind === 'denied' ? 403 : 200, facts),
    resource: { type: 'server', id: server.id },
    meta: {
      event_type: 'mcp_server_request',
      server_id: server.id,
      rpc_method: method,
      request_hash: rpcHash(method, params),
      session_id: sessionName,
      ...rightMeta(caller),
      latency_ms: latencyMs,
      ...outcomeMeta(outcome, caller),
    },
  });
}

function outcomeMeta(outcome: Outcome, caller: Caller) {
  if ('denial' in outcome) return denialMeta(outcome.denial, caller);
  if ('error' in outcome) return { error: outcome.error.code };
  const response_hash = sha256Hex(canonicalize(outcome.reply as JsonObject));
  return 'error' in outcome.reply
    ? { response_hash, error: 'MCP_PROTOCOL', code: outcome.reply.error.code }
    : { response_hash };
}

function replyOf(outcome: Outcome): PeerReply {
  if ('reply' in outcome) return outcome.reply;
  if ('denial' in outcome) return failure(rpcCodes.gateway, outcome.denial.message);
  return failure(rpcCodes.gateway, outcome.error.message);
}

function failure(code: number, message: string): PeerReply {
  return { error: { code, message } };
}
