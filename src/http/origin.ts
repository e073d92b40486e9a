/** Which web pages may call the gateway: an explicit list of origins, and in development mode those of this machine. */

export interface OriginOptions {
  readonly corsOrigins: readonly string[];
  readonly development: boolean;
}

export type OriginAllowed = (origin: string) => boolean;

const localhost = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/;

export function createOriginAllowed({ corsOrigins, development }: OriginOptions): OriginAllowed {
  const listed = new Set(corsOrigins);
  return (origin) => listed.has(origin) || (development && localhost.test(origin));
}
