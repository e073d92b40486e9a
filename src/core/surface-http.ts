/** How a record tells of a request to a surface: by its template and not by its path, which may hold what is secret. */
import type { ClientIpHash, EventDraft } from './audit-event.ts';
import { type SurfaceId, surfaceOf } from './surfaces.ts';

/** The member `http` of a record. An address that is not recorded leaves nothing behind. */
export function surfaceHttp(
  surfaceId: SurfaceId,
  statusCode: number,
  { clientIp }: { readonly clientIp?: ClientIpHash } = {},
): EventDraft['http'] {
  const { method, template } = surfaceOf(surfaceId);
  return { method, path: template, statusCode, ...(clientIp === undefined ? {} : { clientIp }) };
}
