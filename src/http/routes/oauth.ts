/**
 * What the gateway says of itself: as a resource, whose tokens it takes (`/.well-known/oauth-protected-resource`, RFC 9728),
 * for itself and for each MCP endpoint; and as a client of the authorization servers of tool servers (Client ID Metadata
 * Documents). Nobody needs a credential for either.
 */
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { bounds } from '../../config/bounds.ts';
import { TalosError } from '../../core/errors.ts';
import { serverIdPattern } from '../../core/scope.ts';
import { clientDocument } from '../../gateway/connections/client-document.ts';
import type { App } from '../fastify.ts';
import { baseUrl, metadataPath, resourcePath } from '../protected-resource.ts';

const Metadata = Type.Object({
  resource: Type.String(),
  resource_name: Type.String(),
  authorization_servers: Type.Optional(Type.Array(Type.String())),
  bearer_methods_supported: Type.Array(Type.String()),
  resource_documentation: Type.String(),
});

const Client = Type.Object({
  client_id: Type.String({ description: 'The address of this document.' }),
  client_name: Type.String(),
  client_uri: Type.String(),
  redirect_uris: Type.Array(Type.String()),
  grant_types: Type.Array(Type.String()),
  response_types: Type.Array(Type.String()),
  application_type: Type.String(),
  token_endpoint_auth_method: Type.String(),
});

const tags = ['Status'];

export function oauthRoutes(app: App): void {
  resourceRoutes(app);
  clientRoute(app);
}

function resourceRoutes(app: App): void {
  app.get(
    metadataPath,
    {
      config: { surface: 'oauth.resource' },
      schema: { tags, summary: 'Whose tokens the gateway takes', response: { 200: Metadata } },
    },
    async (request) => metadataOf(request, ''),
  );

  app.get(
    `${metadataPath}/*`,
    {
      config: { surface: 'oauth.resource.of' },
      schema: { tags, summary: 'Whose tokens an MCP endpoint takes', response: { 200: Metadata } },
    },
    async (request) => {
      const path = (request.raw.url?.split('?', 1)[0] ?? '').slice(metadataPath.length);
      // What is no resource is not found: the answer repeats nothing that was made up.
      if (resourcePath.exec(path)?.[0] !== path) throw new TalosError('NOT_FOUND');
      return metadataOf(request, path);
    },
  );
}

function clientRoute(app: App): void {
  app.get(
    '/v1/mcp/oauth/client/:server_id',
    {
      config: { surface: 'mcp.connections.client' },
      schema: {
        tags,
        summary: 'The gateway as a client of the authorization server of a tool server',
        params: Type.Object({ server_id: Type.String({ maxLength: bounds.pathParameterCharsMax }) }),
        response: { 200: Client },
      },
    },
    async (request, reply) => {
      const { server_id: serverId } = request.params;
      // Whether there is such a server is not said: the document depends on its address alone.
      const { publicUrl } = request.server.protectedResource;
      const document = serverIdPattern.test(serverId) ? clientDocument(publicUrl, serverId) : undefined;
      if (document === undefined) throw new TalosError('NOT_FOUND');
      reply.header('cache-control', `public, max-age=${bounds.clientDocumentFreshSec}`);
      return document;
    },
  );
}

function metadataOf(request: FastifyRequest, path: string) {
  const { protectedResource } = request.server;
  const base = baseUrl(request, protectedResource);
  return {
    resource: `${base}${path === '' ? '/' : path}`,
    resource_name: 'Talos Gateway',
    ...(protectedResource.issuer === undefined ? {} : { authorization_servers: [protectedResource.issuer] }),
    bearer_methods_supported: ['header'],
    resource_documentation: `${base}/docs`,
  };
}
