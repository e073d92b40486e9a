/** The surface table at work: every route must have its entry, and paths that no route matches are judged by it. */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { TalosError } from '../core/errors.ts';
import { type Surface, type SurfaceId, surfaceOf, surfaces } from '../core/surfaces.ts';

/** Stops the start when a route is registered that the surface table does not know. */
export function guardSurfaces(app: FastifyInstance): void {
  app.addHook('onRoute', (route: RouteOptions) => {
    // The pages, scripts and styles of the documentation are one surface.
    if (isDocumentation(route)) route.config = { ...route.config, surface: 'docs.ui' };
    if (route.config?.surface === undefined && !isPreflight(route)) {
      throw new Error(`The route ${String(route.method)} ${route.url} has no entry in the surface table.`);
    }
  });
}

function isDocumentation(route: RouteOptions): boolean {
  const { template } = surfaces['docs.ui'];
  return route.url === template || route.url.startsWith(`${template}/`);
}

// `@fastify/cors` answers preflights on a route of its own.
function isPreflight(route: RouteOptions): boolean {
  return route.method === 'OPTIONS' && route.url === '*';
}

/** The template of the surface that a request reached, for metrics and logs: never the raw path. */
export function endpointOf(request: FastifyRequest): string {
  const surface = request.routeOptions.config?.surface;
  return surface === undefined ? 'unmatched' : surfaceOf(surface).template;
}

const patterns = Object.keys(surfaces).flatMap((id) => {
  const surface: Surface = surfaceOf(id as SurfaceId);
  // What the gateway records of itself has no route.
  if (surface.template.startsWith('/internal/')) return [];
  return { method: surface.method, pattern: templatePattern(surface.template) };
});

function templatePattern(template: string): RegExp {
  const source = template
    .split(/(\{[^}]+\})/)
    .map((part) => (part.startsWith('{') ? '[^/]+' : part.replaceAll(/[.*+?^$()|[\]\\]/g, '\\$&')))
    .join('');
  return new RegExp(`^${source}$`);
}

/** The error of a request that no route answers; when its path exists under other methods, those are named. */
export function notFound(request: FastifyRequest, reply: FastifyReply): TalosError {
  const methods = methodsOf(request.raw.url?.split('?', 1)[0] ?? '');
  if (methods.length === 0) return new TalosError('NOT_FOUND');
  reply.header('allow', methods.join(', '));
  return new TalosError('METHOD_NOT_ALLOWED');
}

function methodsOf(path: string): string[] {
  const methods = new Set(patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method));
  return [...methods].flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
}
