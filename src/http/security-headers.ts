/** Headers of every answer. The gateway serves data: nothing of it is to be framed, sniffed, cached or run. */

export function securityHeaders(options: {
  readonly region: string;
  readonly tls: object | undefined;
}): Record<string, string> {
  return {
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-site',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'x-talos-region': options.region,
    ...(options.tls === undefined ? {} : { 'strict-transport-security': 'max-age=31536000' }),
  };
}
