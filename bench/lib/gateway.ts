/** The gateway as its users run it: a process of its own in production mode, here on a port that the system chooses. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { grantCapability } from '../../src/core/capability-grant.ts';
import { didKeyFromPublicKey } from '../../src/core/did.ts';
import type { Later } from './cleanup.ts';
import { makeFolder } from './database.ts';
import { endProcess } from './processes.ts';

export interface BenchGateway {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
  /** From the start of the process to its word that it is ready. */
  readonly startMs: number;
  readonly stop: () => Promise<void>;
}

export interface GatewaySetup {
  /** The file that Node.js runs; this checkout's when absent. */
  readonly program?: string;
  /** Of the tool server `bench`. */
  readonly upstreamPort?: number;
  /** Addresses of tool servers by id, as they stand in names of variables. */
  readonly servers?: Readonly<Record<string, string>>;
  /** Absent: the embedded store in `dataDir`. */
  readonly databaseUrl?: string;
  readonly dataDir?: string;
  readonly profile?: string | undefined;
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const { privateKey } = generateKeyPairSync('ed25519');
const issuer = didKeyFromPublicKey(createPublicKey(privateKey));

const readTool = { tool_server: 'bench', tool_name: 'get_forecast', tool_class: 'read' };

/**
 * Starts a gateway with one tool server, `bench`, that trusts the issuer of `capability`. Of the server's two tools,
 * `get_forecast` is known to read only and `book_forecast` is unclassified.
 */
export async function startGateway(setup: GatewaySetup, later: Later): Promise<BenchGateway> {
  const startedAtMs = performance.now();
  const cwd = await makeFolder('talos-bench-gateway-', later);
  await writeFile(registryIn(cwd), JSON.stringify({ tools: [readTool] }));
  const flags = [...startFlags(), ...profileFlags(setup.profile)];
  const child = spawn(process.execPath, [...flags, setup.program ?? gatewayProgram()], {
    cwd,
    env: environmentOf(setup, cwd),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  later(() => endProcess(child));
  const url = new URL(await readyUrl(child));
  return {
    pid: child.pid as number,
    host: url.hostname,
    port: Number(url.port),
    startMs: performance.now() - startedAtMs,
    stop: () => endProcess(child),
  };
}

/** The flags that `npm start` gives to Node.js. */
function startFlags(): string[] {
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { scripts: { start: string } };
  return scripts.start.split(' ').filter((word) => word.startsWith('--'));
}

function profileFlags(folder: string | undefined): string[] {
  return folder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${folder}`];
}

/** The built gateway, which is what people run. Throws when there is none, or when it is older than the source. */
export function gatewayProgram(): string {
  const built = `${root}dist/src/main.js`;
  const builtAtMs = existsSync(built) ? statSync(built).mtimeMs : Number.NEGATIVE_INFINITY;
  const isStale = globSync('src/**/*.ts', { cwd: root }).some((file) => statSync(root + file).mtimeMs > builtAtMs);
  if (isStale) throw new Error('The build is older than the source: npm run build');
  return built;
}

function registryIn(folder: string): string {
  return join(folder, 'tool-registry.json');
}

function environmentOf(setup: GatewaySetup, cwd: string): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    TALOS_GATEWAY_PORT: '0',
    // All load comes from one address.
    TALOS_RATE_LIMIT: 'false',
    TALOS_DATA_DIR: setup.dataDir ?? cwd,
    TALOS_TRUSTED_ISSUERS: issuer,
    TALOS_TOOL_REGISTRY: registryIn(cwd),
    AUTH_ADMIN_SECRET: randomBytes(32).toString('base64url'),
    ...(setup.upstreamPort === undefined ? {} : { MCP_SERVER_BENCH: `http://127.0.0.1:${setup.upstreamPort}/mcp` }),
    ...Object.fromEntries(Object.entries(setup.servers ?? {}).map(([id, url]) => [`MCP_SERVER_${id}`, url])),
    ...(setup.databaseUrl === undefined ? {} : { DATABASE_URL: setup.databaseUrl }),
  };
}

async function readyUrl(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('The gateway has no output to read.');
  for await (const line of createInterface({ input: child.stdout })) {
    const entry = parseLine(line);
    if (entry.url !== undefined) {
      // What comes later is of no interest, but must be read.
      child.stdout.resume();
      return entry.url;
    }
    if ((entry.level ?? 0) >= 40) console.error(`gateway: ${entry.msg}`);
  }
  throw new Error('The gateway ended before it was ready.');
}

function parseLine(line: string): { readonly level?: number; readonly msg?: string; readonly url?: string } {
  try {
    return JSON.parse(line) as object;
  } catch {
    return { level: 60, msg: line };
  }
}

/** A capability for `scope` that the gateways of this process trust for an hour. */
export function capability(scope: string): string {
  const nowSec = Math.floor(Date.now() / 1000);
  return grantCapability({ privateKey, issuer, subject: 'did:talos:bench-agent', scope, nowSec, ttlSec: 3600 });
}
