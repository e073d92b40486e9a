/** At the second watermark of the store nothing that needs a record begins. Reads and probes go on. */
import { surfaceOf } from '../core/surfaces.ts';
import type { App } from './fastify.ts';

/** `assertRoom` throws when there is none. To be called before routes are registered. */
export function refuseWithoutRoom(app: App, assertRoom: () => void): void {
  app.addHook('onRequest', async (request) => {
    const surfaceId = request.routeOptions.config?.surface;
    if (surfaceId === undefined) return;
    const { auditMode, action } = surfaceOf(surfaceId);
    // Of reported events the failure policy decides, which may keep them elsewhere.
    if (auditMode === 'each' && action !== 'events.write') assertRoom();
  });
}
