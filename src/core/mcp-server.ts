/**
 * What the configuration says about one upstream tool server. Configuration parses into this shape and `mcp/` connects
 * by it; both judge it with `specProblems`, so a server that passed one is accepted by the other.
 */
import type { Rate } from './gcra.ts';
import { gatewayServer, serverIdPattern } from './scope.ts';
import { areReferencesSound } from './secret-reference.ts';
import { authProblems, type ServerAuth } from './server-auth.ts';
import type { PinMode } from './tool-pin.ts';

export const mcpTransports = ['auto', 'http', 'sse', 'stdio', 'jsonrpc'] as const;

/**
 * `http` is Streamable HTTP of either protocol era, `sse` the HTTP+SSE of 2024-11-05 before it, `jsonrpc` bare JSON-RPC
 * over POST without any handshake, `auto` finds out which of these a URL speaks, `stdio` is a process that the gateway
 * starts.
 */
export type McpTransport = (typeof mcpTransports)[number];

export interface McpServerSpec {
  readonly id: string;
  readonly name: string;
  readonly transport: McpTransport;
  /** For every transport but stdio. */
  readonly url?: string;
  /** Sent with every request; may hold credentials, so it appears in no listing, log or error. */
  readonly headers?: Readonly<Record<string, string>>;
  /** How the gateway gets the token that it sends with every request; absent where `headers` hold all there is. */
  readonly auth?: ServerAuth;
  /** For stdio: an executable, never a shell line. */
  readonly command?: string;
  readonly args?: readonly string[];
  /** For stdio: added to the few variables that every server gets. The gateway's own environment is not inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly callTimeoutMs?: number;
  /** How many requests it is sent at once. */
  readonly maxConcurrency?: number;
  /** How many more may wait for their turn. */
  readonly maxQueue?: number;
  /** How many clients may have a session of their own there. */
  readonly maxSessions?: number;
  /** `shared`: clients share one session, in which the server can ask none of them anything. Absent means `dedicated`. */
  readonly sessions?: 'dedicated' | 'shared';
  /** For stdio: how much memory each of its processes may ask the system for. */
  readonly maxMemoryBytes?: number;
  /** For stdio: how many files and connections each of its processes may have open. */
  readonly maxOpenFiles?: number;
  /** How often one caller may call its tools. */
  readonly rateLimit?: Rate;
  readonly tags?: readonly string[];
  /** How changed definitions of its tools are met; absent means `enforce`. */
  readonly pins?: PinMode;
  /** Private and loopback addresses are not dialled. Link-local and metadata addresses never are. */
  readonly publicOnly?: boolean;
  /** Absent means enabled. */
  readonly enabled?: boolean;
}

/** What is wrong with `spec`, one sentence each; empty when nothing is. No sentence quotes a credential. */
export function specProblems(spec: McpServerSpec): string[] {
  return [
    idProblem(spec.id),
    addressProblem(spec),
    timeoutProblem(spec),
    ...headerProblems(spec.headers ?? {}),
    environmentProblem(spec.env ?? {}),
    ...credentialProblems(spec),
  ].filter((problem) => problem !== undefined);
}

function idProblem(id: string): string | undefined {
  if (id === gatewayServer) return `the server id '${gatewayServer}' is reserved`;
  if (serverIdPattern.test(id)) return undefined;
  return `the server id '${id.slice(0, 80)}' must be 1 to 63 of a-z, 0-9, '-' and '_', start with a letter or digit, and not contain '__'`;
}

function addressProblem(spec: McpServerSpec): string | undefined {
  if (spec.transport === 'stdio') return spec.command ? undefined : 'a stdio server needs a command';
  if (spec.url === undefined) return `a server with the transport '${spec.transport}' needs a url`;
  return urlProblem(spec.url);
}

function urlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return 'the url cannot be parsed';
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'the url must start with http:// or https://';
  if (url.username !== '' || url.password !== '') {
    return 'the url must not hold a user name or password; put the credential into headers';
  }
  return undefined;
}

function credentialProblems({ auth, headers = {} }: McpServerSpec): string[] {
  if (auth === undefined) return [];
  const isTwice = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  return [...authProblems(auth), ...(isTwice ? ["the header 'authorization' does not go with auth"] : [])];
}

function timeoutProblem(spec: McpServerSpec): string | undefined {
  const { callTimeoutMs } = spec;
  if (callTimeoutMs === undefined) return undefined;
  const sane = Number.isInteger(callTimeoutMs) && callTimeoutMs >= 1 && callTimeoutMs <= 3_600_000;
  return sane ? undefined : 'callTimeoutMs must be an integer from 1 to 3600000';
}

// RFC 9110, sections 5.1 and 5.5.
const headerName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Whether HTTP can carry the text in a header. */
export function isHeaderValue(text: string): boolean {
  return headerValue.test(text);
}

// What the transport itself says; two voices in one request would be an attack surface.
const reservedHeaders = new Set([
  'accept',
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'keep-alive',
  'last-event-id',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-request-id',
]);

function environmentProblem(env: Readonly<Record<string, string>>): string | undefined {
  const wrong = Object.entries(env).find(([, text]) => !areReferencesSound(text));
  return wrong === undefined ? undefined : `the variable '${wrong[0]}' names a secret by what cannot be its name`;
}

function headerProblems(headers: Readonly<Record<string, string>>): (string | undefined)[] {
  return Object.entries(headers).map(([name, value]) => headerProblem(name, value));
}

function headerProblem(name: string, value: string): string | undefined {
  if (!headerName.test(name)) return 'a header has a name that HTTP does not allow';
  const lower = name.toLowerCase();
  if (reservedHeaders.has(lower) || lower.startsWith('mcp-'))
    return `the header '${lower}' is set by the gateway itself`;
  if (!areReferencesSound(value)) return `the header '${lower}' names a secret by what cannot be its name`;
  return isHeaderValue(value) ? undefined : `the header '${lower}' has a value that HTTP does not allow`;
}

/** Scheme, host and path of a URL: the rest of it is where credentials hide. */
export function withoutCredentials(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
