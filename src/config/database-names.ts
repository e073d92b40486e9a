/** The four `DB_*` names of older deployments, joined to the one address that a connection needs. */
import type { Findings } from './findings.ts';

const databaseUrlNames = ['TALOS_DATABASE_URL', 'DATABASE_URL', 'DATABASE_WRITE_URL'];
const databasePartNames = ['DB_HOST', 'DB_NAME', 'DB_USER', 'DB_PASSWORD'];

/** Replaces `DB_HOST` by the whole address that the four older names describe, unless an address is given as such. */
export function joinDatabaseNames(layer: Map<string, string>, findings: Findings): void {
  const given = databasePartNames.filter((name) => layer.has(name));
  if (given.length === 0) return;
  const url = databaseUrlNames.find((name) => layer.has(name));
  const address = url === undefined ? databaseAddress(layer, given, findings) : undefined;
  if (url !== undefined) findings.warn(`${given.join(', ')} ignored, because ${url} is set.`);
  for (const name of databasePartNames) layer.delete(name);
  if (address !== undefined) layer.set('DB_HOST', address);
}

function databaseAddress(
  layer: ReadonlyMap<string, string>,
  given: readonly string[],
  findings: Findings,
): string | undefined {
  const [host, name, user, password] = databasePartNames.map((part) => layer.get(part));
  // A password alone names no database; something else may need it.
  if (given.join() === 'DB_PASSWORD') return undefined;
  if (host === undefined || name === undefined || user === undefined) {
    const missing = databasePartNames.slice(0, 3).filter((part) => !layer.has(part));
    findings.problem(
      `${given.join(', ')} without ${missing.join(', ')}: set DB_HOST, DB_NAME and DB_USER together, or DATABASE_URL.`,
    );
    return undefined;
  }
  if (!/^[A-Za-z0-9._-]+(:\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](:\d{1,5})?$/.test(host)) {
    findings.problem('DB_HOST must be a host name or address, with or without :port.');
    return undefined;
  }
  const credentials = [user, password].filter((part) => part !== undefined).map(encodeURIComponent);
  return `postgresql://${credentials.join(':')}@${host}/${encodeURIComponent(name)}`;
}
