/** `/openapi.json`, made from the schemas that requests are checked with, and `/docs`, the pages that show it. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { Type } from 'typebox';
import { errorTable } from '../../../core/errors.ts';
import { surfaceOf } from '../../../core/surfaces.ts';
import type { App } from '../../fastify.ts';

// The pages run their own scripts and talk to this gateway alone.
const contentSecurityPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// Anybody may ask these; everything else takes a credential.
const openTags: readonly string[] = ['Health', 'Status'];

const ErrorBody = Type.Object({
  code: Type.Enum(Object.keys(errorTable)),
  message: Type.String(),
  retryable: Type.Boolean({ description: 'Whether the same request may succeed later.' }),
  request_id: Type.String(),
  audit_ref: Type.Optional(Type.String({ description: 'The event id of the record of the refusal.' })),
  details: Type.Optional(Type.Object({})),
});

const errorResponse = {
  description: 'A refusal or failure. Some routes carry an older key (`detail` or `error`) beside these.',
  content: { 'application/json': { schema: ErrorBody as object } },
};

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
          bearer: { type: 'http', scheme: 'bearer', description: 'An API key, a token, or a capability.' },
          capability: { type: 'apiKey', in: 'header', name: 'X-Talos-Capability' },
        },
        responses: { Error: errorResponse },
      },
      security: [{ bearer: [] }, { capability: [] }],
    },
    // Routes are described by their surface's template: the router's own pattern is an implementation detail.
    transform: ({ schema, url, route }) => {
      const surface = route.config?.surface;
      const isOpen = schema?.tags?.some((tag) => openTags.includes(tag)) ?? false;
      return {
        schema: { ...schema, ...(surface && { operationId: surface }), ...(isOpen && { security: [] }) },
        // Doubled, because a single colon would begin a parameter of the router.
        url: surface === undefined ? url : surfaceOf(surface).template.replaceAll(':', '::'),
      };
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      addErrors(document.openapiObject.paths ?? {});
      return document.openapiObject;
    },
  });
}

/** Every operation may answer with the error of the shared envelope. */
function addErrors(paths: object): void {
  for (const operation of Object.values(paths).flatMap((path: object) => Object.values(path))) {
    const { responses } = operation as { readonly responses: Record<string, object> };
    responses['default'] = { $ref: '#/components/responses/Error' };
  }
}

export async function docsRoutes(app: App): Promise<void> {
  app.get('/openapi.json', { config: { surface: 'docs.openapi' }, schema: { hide: true } }, async () => app.swagger());
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: contentSecurityPolicy,
    // Without the bar that would load a document from anywhere else.
    uiConfig: { layout: 'BaseLayout', docExpansion: 'list', tryItOutEnabled: true, persistAuthorization: true },
    theme: { title: 'Talos Gateway API' },
  });
}
