/** `POST /mcp/{server_id}` and `POST /mcp`: the native MCP endpoint over Streamable HTTP, answered with JSON. */
import { Type } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import type { JsonValue } from '../../../core/json.ts';
import type { NativeMcp } from '../../../gateway/native-mcp.ts';
import { type AuthenticateRequest, authenticated, callerOf, clientGone, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { type OriginAllowed, onlyAllowedOrigins } from '../../origin.ts';

const Message = Type.Unknown({ description: 'One JSON-RPC 2.0 message of MCP.' });
const Response = Type.Object({}, { additionalProperties: true, description: 'A JSON-RPC 2.0 response.' });
const Params = Type.Object({ server_id: Type.String({ maxLength: bounds.pathParameterCharsMax }) });

export interface NativeRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly nativeMcp: NativeMcp;
  readonly originAllowed: OriginAllowed;
  readonly factsOf: FactsOf;
}

export function nativeMcpRoutes(app: App, deps: NativeRouteDeps): void {
  const onRequest = [onlyAllowedOrigins(deps.originAllowed), authenticated(deps.authenticate, 'open'), onlyKnown];
  const schema = {
    tags: ['MCP'],
    description:
      'Streamable HTTP without sessions, for the protocol revisions 2024-11-05 to 2025-11-25 and 2026-07-28. Notifications are answered with 202. A `tools/call` takes an idempotency key as the header `Idempotency-Key` or as `params._meta["org.talosprotocol/idempotencyKey"]`.',
    body: Message,
    response: { 200: Response, 400: Response, 404: Response },
  };
  app.post(
    '/mcp/:server_id',
    {
      config: { surface: 'mcp.native' },
      schema: { ...schema, summary: 'Speak MCP with one tool server', params: Params },
      onRequest,
    },
    async (request, reply) => answer(deps, request, reply, request.params.server_id),
  );
  app.post(
    '/mcp',
    {
      config: { surface: 'mcp.native.all' },
      schema: { ...schema, summary: 'Speak MCP with all tool servers as one, tools named server__tool' },
      onRequest,
    },
    async (request, reply) => answer(deps, request, reply),
  );
}

async function answer(deps: NativeRouteDeps, request: FastifyRequest, reply: FastifyReply, serverId?: string) {
  const idempotencyKey = single(request.headers['idempotency-key']);
  const { status, body, auditRef, isReplay } = await deps.nativeMcp({
    caller: callerOf(request),
    facts: deps.factsOf(request),
    ...(serverId === undefined ? {} : { serverId }),
    body: request.body as JsonValue | undefined,
    headers: {
      protocolVersion: single(request.headers['mcp-protocol-version']),
      method: single(request.headers['mcp-method']),
      name: single(request.headers['mcp-name']),
    },
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    signal: clientGone(reply),
  });
  if (auditRef !== undefined) reply.header('x-talos-audit-ref', auditRef);
  if (isReplay) reply.header('idempotent-replayed', 'true');
  return reply.code(status).send(body);
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header;
}

/** Unlike reading hashes of the log, nothing here is for strangers; 401 makes MCP clients look for a credential. */
async function onlyKnown(request: FastifyRequest): Promise<void> {
  const { principal, denial } = callerOf(request);
  if (principal.authMode === 'anonymous' && denial === undefined) throw new TalosError('AUTH_MISSING');
}
