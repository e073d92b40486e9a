/** Databases by way of a proxy: what the proxies in front of PostgreSQL share. */

/** Where a database listens: a Unix socket or a TCP port, as `connect` takes it. */
export type DatabaseTarget = { readonly path: string } | { readonly host: string; readonly port: number };

/** Where `databaseUrl` leads, and the same URL with `port` of this machine in its place. */
export function rerouted(databaseUrl: string, port: number): { target: DatabaseTarget; url: string } {
  const url = new URL(databaseUrl);
  const host = decodeURIComponent(url.hostname);
  const target = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${url.port}` } : { host, port: Number(url.port) };
  url.host = `127.0.0.1:${port}`;
  return { target, url: url.href };
}
