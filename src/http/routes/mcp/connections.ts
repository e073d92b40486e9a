/** The account of a user at a tool server: connected, looked at, disconnected, and the page that a browser comes back to. */

import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import type { ConnectServer } from '../../../gateway/connections/connect-server.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { baseUrl } from '../../protected-resource.ts';
import { pageOf } from './connection-page.ts';

const Params = Type.Object({ server_id: Type.String({ maxLength: bounds.pathParameterCharsMax }) });
const AuditRef = Type.String({ description: 'The id of the record of this.' });

const AuthorizationStart = Type.Object({
  server_id: Type.String(),
  authorization_url: Type.String({ description: 'To be opened with a browser by the user, and by nobody else.' }),
  expires_in: Type.Integer({ description: 'Seconds.' }),
  audit_ref: AuditRef,
});

const Status = Type.Object({
  server_id: Type.String(),
  state: Type.String({ description: '`connected`, `not_connected`, or `expired`: to be connected again.' }),
  scopes: Type.Optional(Type.Array(Type.String())),
  connected_at: Type.Optional(Type.String()),
  token_expires_at: Type.Optional(
    Type.String({ description: 'Of the token in use, which is refreshed if it can be.' }),
  ),
});

const Disconnected = Type.Object({
  server_id: Type.String(),
  state: Type.Literal('not_connected'),
  revoked: Type.Boolean({ description: 'Whether the authorization server was told, and took it.' }),
  audit_ref: AuditRef,
});

const text = Type.Optional(Type.String({ maxLength: 4_096 }));
const Returned = Type.Object({ state: text, code: text, error: text, iss: text });

export interface ConnectionRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly connectServer: ConnectServer;
  readonly factsOf: FactsOf;
}

export async function connectionRoutes(app: App, deps: ConnectionRouteDeps): Promise<void> {
  accountRoutes(app, deps);
  // Apart, because forms are taken here and nowhere else.
  await app.register((pages, _options, done) => {
    callbackRoutes(pages as unknown as App, deps);
    done();
  });
}

const path = '/v1/mcp/servers/:server_id/connection';
const legacyErrorKey = 'detail';

function accountRoutes(app: App, { authenticate, connectServer, factsOf }: ConnectionRouteDeps): void {
  const onRequest = authenticated(authenticate, 'bearer');
  const tags = ['MCP'];
  const asking = (request: FastifyRequest, serverId: string) => ({
    ...askerOf(request, factsOf),
    serverId,
  });

  app.post(
    path,
    {
      config: { surface: 'mcp.connections.start', legacyErrorKey },
      schema: {
        tags,
        summary: 'Connect your account at a tool server',
        params: Params,
        response: { 200: AuthorizationStart },
      },
      onRequest,
    },
    async (request, reply) => {
      const { server_id: serverId } = request.params;
      const base = baseUrl(request, request.server.protectedResource);
      const started = await connectServer.start(asking(request, serverId), base);
      reply.header('x-talos-audit-ref', started.auditRef);
      return {
        server_id: serverId,
        authorization_url: started.authorizationUrl,
        expires_in: started.expiresInSec,
        audit_ref: started.auditRef,
      };
    },
  );

  app.get(
    path,
    {
      config: { surface: 'mcp.connections.get', legacyErrorKey },
      schema: { tags, summary: 'Whether your account is connected', params: Params, response: { 200: Status } },
      onRequest,
    },
    async (request) => {
      const { server_id: serverId } = request.params;
      const { state, scopes, connectedAt, expiresAtMs } = await connectServer.status(asking(request, serverId));
      return {
        server_id: serverId,
        state,
        ...(scopes === undefined ? {} : { scopes: [...scopes] }),
        ...(connectedAt === undefined ? {} : { connected_at: connectedAt.toISOString() }),
        ...(expiresAtMs === undefined ? {} : { token_expires_at: new Date(expiresAtMs).toISOString() }),
      };
    },
  );

  app.delete(
    path,
    {
      config: { surface: 'mcp.connections.delete', legacyErrorKey },
      schema: { tags, summary: 'Disconnect your account', params: Params, response: { 200: Disconnected } },
      onRequest,
    },
    async (request, reply) => {
      const { server_id: serverId } = request.params;
      const { isRevoked, auditRef } = await connectServer.disconnect(asking(request, serverId));
      reply.header('x-talos-audit-ref', auditRef);
      return { server_id: serverId, state: 'not_connected' as const, revoked: isRevoked, audit_ref: auditRef };
    },
  );
}

function callbackRoutes(app: App, { connectServer, factsOf }: ConnectionRouteDeps): void {
  const template = '/v1/mcp/oauth/callback/:server_id';
  const tags = ['Status'];
  const response = { 200: Type.String({ description: 'A page.' }) };
  // The form has no fields: what it is about is in its address.
  app.addContentTypeParser('application/x-www-form-urlencoded', async () => undefined);

  app.get(
    template,
    {
      config: { surface: 'mcp.connections.arrive' },
      schema: {
        tags,
        summary: 'Where an authorization server sends a user back to: a page that asks whether to connect the account',
        params: Params,
        querystring: Returned,
        response,
      },
    },
    async (request, reply) => {
      const returned = { serverId: request.params.server_id, ...members(request.query) };
      return await pageOf(reply, async () => {
        if (returned.error !== undefined) await connectServer.finish(returned, factsOf(request));
        return { kind: 'question', ...(await connectServer.arrival(returned)) };
      });
    },
  );

  app.post(
    template,
    {
      config: { surface: 'mcp.connections.finish' },
      schema: {
        tags,
        summary: 'Connect the account, and say so on a page',
        params: Params,
        querystring: Returned,
        response,
      },
      onRequest: onlyFromHere,
    },
    async (request, reply) => {
      const returned = { serverId: request.params.server_id, ...members(request.query) };
      return await pageOf(reply, async () => {
        const arrival = await connectServer.finish(returned, factsOf(request));
        reply.header('x-talos-audit-ref', arrival.auditRef);
        return { kind: 'done', ...arrival };
      });
    },
  );
}

function members({ state, code, error, iss }: Partial<Record<'state' | 'code' | 'error' | 'iss', string>>) {
  return { state, code, error, iss };
}

/** The answer to the question is given on the page that asks it. */
async function onlyFromHere(request: FastifyRequest): Promise<void> {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') throw new TalosError('ORIGIN_NOT_ALLOWED');
}
