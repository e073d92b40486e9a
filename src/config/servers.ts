/**
 * The tool servers behind the gateway: `servers` of the file, as a map by id or a list, and their addresses in the
 * environment (`MCP_SERVER_<ID>` and three names of old). The environment may add a server or move one of the file; it
 * keeps that entry's headers and limits.
 */
import { type McpServerSpec, specProblems } from '../core/mcp-server.ts';
import { bounds } from './bounds.ts';
import { type ConfigFile, isMap } from './config-file.ts';
import type { Environment } from './env.ts';
import type { Findings } from './findings.ts';
import { parseHttpUrl } from './parse.ts';
import type { Source } from './resolve.ts';
import { readServer, type ServerEntry } from './server-entry.ts';

export interface ServerSettings {
  readonly servers: readonly McpServerSpec[];
  readonly sources: Readonly<Record<string, Source>>;
  /** True when an entry was refused, so that "no server" would only repeat the complaint. */
  readonly failed: boolean;
}

type Layer = ReadonlyMap<string, string>;

interface Found {
  readonly spec: McpServerSpec;
  readonly source: Source;
}

/**
 * Reads all tool servers, ordered by id. Refused ones go to `findings` and are left out.
 *
 * @param layer The environment as settings read it.
 * @param env The environment as it is, for `${NAME}` inside secrets of the file.
 */
export function resolveServers(
  layer: Layer,
  env: Environment,
  file: ConfigFile | undefined,
  findings: Findings,
): ServerSettings {
  const before = findings.problems.length;
  const found = new Map<string, Found>();
  for (const entry of fileServers(file, findings)) addFromFile(found, entry, env, findings);
  for (const address of environmentServers(layer, findings)) addFromEnvironment(found, address, findings);
  const tooMany = `At most ${bounds.toolServersMax} tool servers can be set, not ${found.size}.`;
  if (found.size > bounds.toolServersMax) findings.problem(tooMany);
  const sorted = [...found.values()].sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1));
  return {
    servers: sorted.map(({ spec }) => spec),
    sources: Object.fromEntries(sorted.map(({ spec, source }) => [spec.id, source])),
    failed: findings.problems.length > before,
  };
}

function addFromFile(found: Map<string, Found>, entry: ServerEntry, env: Environment, findings: Findings): void {
  const spec = readServer(entry, env, findings);
  if (spec === undefined) return;
  if (found.has(spec.id)) findings.problem(`${entry.shown}: the id "${spec.id}" is taken by an entry above.`);
  found.set(spec.id, { spec, source: { layer: 'file', name: 'servers' } });
}

function addFromEnvironment(found: Map<string, Found>, { id, name, url }: ServerAddress, findings: Findings): void {
  const known = found.get(id)?.spec;
  if (known?.transport === 'stdio') {
    findings.problem(`${name} gives an address to the server "${id}", which the file starts as a process: keep one.`);
  }
  found.set(id, {
    spec: { ...(known ?? { id, name: id, transport: 'auto' }), url },
    source: { layer: 'env', name },
  });
}

// The environment

interface ServerAddress {
  readonly id: string;
  readonly name: string;
  readonly url: string;
}

const serverPrefix = 'MCP_SERVER_';
const olderNames: ReadonlyMap<string, string> = new Map([
  ['MCP_GIT_URL', 'git'],
  ['MCP_WEATHER_URL', 'weather'],
  ['MCP_CONNECTOR_URL', 'connector'],
]);

function environmentServers(layer: Layer, findings: Findings): ServerAddress[] {
  const addresses = new Map<string, ServerAddress>();
  const named = [...layer].flatMap(([name, url]) => {
    const id = name.startsWith(serverPrefix) ? name.slice(serverPrefix.length).toLowerCase() : olderNames.get(name);
    return id === undefined ? [] : [{ id, name, url }];
  });
  // MCP_SERVER_… first, so that it wins over the names of old.
  named.sort((a, b) => Number(olderNames.has(a.name)) - Number(olderNames.has(b.name)));
  for (const address of named) {
    const first = addresses.get(address.id);
    if (first === undefined) {
      if (isAddressSound(address, findings)) addresses.set(address.id, address);
    } else if (first.url !== address.url) reportTwoAddresses(first, address, findings);
  }
  return [...addresses.values()];
}

function isAddressSound({ id, name, url }: ServerAddress, findings: Findings): boolean {
  const parsed = parseHttpUrl(url);
  if (!parsed.ok) findings.problem(`${name} ${parsed.problem}.`);
  const problems = specProblems({ id, name: id, transport: 'auto', url: 'http://localhost' });
  for (const problem of problems) findings.problem(`${name}: ${problem}.`);
  return parsed.ok && problems.length === 0;
}

function reportTwoAddresses(first: ServerAddress, second: ServerAddress, findings: Findings): void {
  if (olderNames.has(second.name)) findings.warn(`${second.name} differs from ${first.name}, which wins.`);
  else findings.problem(`${first.name} and ${second.name} give two addresses to the server "${first.id}": keep one.`);
}

// The file

function fileServers(file: ConfigFile | undefined, findings: Findings): ServerEntry[] {
  return (file?.entries ?? [])
    .filter(({ key }) => key === 'servers')
    .flatMap(({ value, shown }) => {
      if (Array.isArray(value))
        return value.flatMap((item, at) => listedServer(item, `${shown}, entry ${at + 1}`, findings));
      if (isMap(value)) return Object.entries(value).flatMap(([id, item]) => mappedServer(id, item, shown, findings));
      findings.problem(`${shown} must be a map of servers by id, or a list of them.`);
      return [];
    });
}

function listedServer(item: unknown, shown: string, findings: Findings): ServerEntry[] {
  if (isMap(item) && typeof item['id'] === 'string') return [{ shown, id: item['id'], fields: item }];
  findings.problem(`${shown} must be a map with an id in text.`);
  return [];
}

function mappedServer(id: string, item: unknown, parent: string, findings: Findings): ServerEntry[] {
  const shown = parent.replace(/^\S+/, (key) => `${key}.${id}`);
  if (isMap(item) && (item['id'] ?? id) === id) return [{ shown, id, fields: item }];
  findings.problem(
    isMap(item) ? `${shown} has another id inside: leave it out.` : `${shown} must be a map with a url or a command.`,
  );
  return [];
}
