/** What a record begins with that tells of something the gateway did by itself, for nobody who asked. */
import { randomUUID } from 'node:crypto';
import type { EventDraft } from './audit-event.ts';
import { gatewayItself } from './principal.ts';
import { surfaceHttp } from './surface-http.ts';
import type { SurfaceId } from './surfaces.ts';

export function ownDraft(surfaceId: SurfaceId, requestId: string = randomUUID()) {
  return {
    surfaceId,
    requestId,
    outcome: 'success',
    principal: gatewayItself,
    http: surfaceHttp(surfaceId, 200),
  } as const satisfies Partial<EventDraft>;
}
