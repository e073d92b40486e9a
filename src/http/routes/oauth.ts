/** `/.well-known/oauth-protected-resource` (RFC 9728), for the gateway and for each MCP endpoint of it. */
import { Type } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { TalosError } from '../../core/errors.ts';
import type { App } from '../fastify.ts';
import { baseUrl, metadataPath, resourcePath } from '../protected-resource.ts';

const Metadata = Type.Object({
  resource: Type.String(),
  resource_name: Type.String(),
  authorization_servers: Type.Optional(Type.Array(Type.String())),
  bearer_methods_supported: Type.Array(Type.String()),
  resource_documentation: Type.String(),
});

export function oauthRoutes(app: App): void {
  const tags = ['Status'];
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
