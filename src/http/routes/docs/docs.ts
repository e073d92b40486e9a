/** `/openapi.json`, made from the schemas that requests are checked with, and `/docs`, the pages that show it. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { surfaceOf } from '../../../core/surfaces.ts';
import type { App } from '../../fastify.ts';

/** To be registered before the routes that it describes. */
export async function describeRoutes(app: App): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Talos Gateway',
        description: 'The gateway between AI agents and the tools they use.',
        version: '1.0.0',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'A capability, as `talos grant` prints it.' },
          capability: { type: 'apiKey', in: 'header', name: 'X-Talos-Capability' },
        },
      },
      security: [{ bearer: [] }, { capability: [] }],
    },
    // Routes are described by their surface's template: the router's own pattern is an implementation detail.
    transform: ({ schema, url, route }) => {
      const surface = route.config?.surface;
      return { schema, url: surface === undefined ? url : surfaceOf(surface).template };
    },
  });
}

export async function docsRoutes(app: App): Promise<void> {
  app.get('/openapi.json', { config: { surface: 'docs.openapi' }, schema: { hide: true } }, async () => app.swagger());
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    uiConfig: { docExpansion: 'list', tryItOutEnabled: true, persistAuthorization: true },
  });
}
