/**
 * The effective configuration as text: every setting and tool server with the layer its value came from, and `[secret]`
 * for whatever is one. Addresses lose their query, where keys like to hide; arguments of tool servers are shown, as
 * every user of the machine can see them in the process list.
 */
import { Document, isScalar, isSeq, type Pair, YAMLMap } from 'yaml';
import type { McpServerSpec } from '../core/mcp-server.ts';
import { formatRate } from '../core/rate.ts';
import type { ServerAuth } from '../core/server-auth.ts';
import type { LoadedConfig } from './config.ts';
import type { Source } from './resolve.ts';
import { Secret, secretMask } from './secret.ts';
import { settingList } from './settings.ts';

/** What may be shown of a setting: plain data without secrets. */
type Shown = string | number | boolean | null | readonly string[];

/** As YAML that could be read back, with the source of each value as a comment. */
export function describeAsYaml(loaded: LoadedConfig): string {
  const document = new Document(null);
  const root = new YAMLMap();
  for (const { key, value, source } of shownSettings(loaded))
    root.add(withComment(document.createPair(key, value), source));
  const servers = new YAMLMap();
  for (const { id, source, ...fields } of shownServers(loaded))
    servers.add(withComment(document.createPair(id, fields), source));
  root.add(document.createPair('servers', servers));
  document.contents = root;
  return `# Effective configuration. File: ${loaded.file ?? 'none'}.\n${document.toString({ lineWidth: 0 })}`;
}

/** The same as JSON. */
export function describeAsJson(loaded: LoadedConfig): string {
  const settings = shownSettings(loaded).map(({ key, ...rest }) => [key, rest]);
  const servers = shownServers(loaded).map(({ id, ...rest }) => [id, rest]);
  const all = {
    file: loaded.file ?? null,
    settings: Object.fromEntries(settings),
    servers: Object.fromEntries(servers),
    warnings: loaded.warnings,
  };
  return `${JSON.stringify(all, null, 2)}\n`;
}

interface ShownSetting {
  readonly key: string;
  readonly value: Shown;
  readonly source: Source;
}

function shownSettings({ effective, sources }: LoadedConfig): ShownSetting[] {
  return settingList.map(([key, { file }]) => ({
    key: file[0],
    value: show(effective[key]),
    source: sources.settings[key],
  }));
}

function show(value: string | number | boolean | Secret | readonly string[] | undefined): Shown {
  if (value === undefined) return null;
  if (value instanceof Secret) return secretMask;
  if (typeof value === 'string') return maskAddress(value);
  return typeof value === 'object' ? value.map(maskAddress) : value;
}

/** Without the user, the password and the query of an address; other text stays as it is. */
function maskAddress(text: string): string {
  return text
    .replaceAll(/:\/\/[^/?#\s]*@/g, `://${secretMask}@`)
    .replaceAll(/(:\/\/[^?\s]*)\?[^\s#]*/g, `$1?${secretMask}`);
}

type ShownServer = { readonly id: string; readonly source: Source } & Readonly<Record<string, unknown>>;

function shownServers({ config, sources }: LoadedConfig): ShownServer[] {
  return config.servers.map((server) => ({
    ...serverFields(server),
    id: server.id,
    source: sources.servers[server.id] ?? { layer: 'default' },
  }));
}

function serverFields(server: McpServerSpec): Readonly<Record<string, unknown>> {
  const fields = {
    name: server.name,
    transport: server.transport,
    url: server.url && maskAddress(server.url),
    headers: server.headers && maskAll(server.headers),
    auth: server.auth && shownAuth(server.auth),
    command: server.command,
    args: server.args?.map(maskAddress),
    env: server.env && maskAll(server.env),
    cwd: server.cwd,
    call_timeout: server.callTimeoutMs && server.callTimeoutMs / 1000,
    max_concurrency: server.maxConcurrency,
    max_queue: server.maxQueue,
    max_sessions: server.maxSessions,
    sessions: server.sessions,
    max_memory: server.maxMemoryBytes,
    max_open_files: server.maxOpenFiles,
    rate_limit: server.rateLimit && formatRate(server.rateLimit),
    tags: server.tags,
    enabled: server.enabled,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function shownAuth({ secrets, ...auth }: ServerAuth): Readonly<Record<string, unknown>> {
  const fields = Object.entries(auth).map(([key, value]) => [
    key.replaceAll(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
    value,
  ]);
  return { ...Object.fromEntries(fields), ...maskAll(secrets ?? {}) };
}

function maskAll(record: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.keys(record).map((name) => [name, secretMask]));
}

function withComment(pair: Pair, source: Source): Pair {
  const comment = ` ${source.layer}${source.name === undefined ? '' : ` ${source.name}`}`;
  const { key, value } = pair;
  if (isSeq(value)) value.flow = true;
  if (isScalar(value) || isSeq(value)) value.comment = comment;
  else if (isScalar(key)) key.commentBefore = comment;
  return pair;
}
