/**
 * npm's gateways from Streamable HTTP to Streamable HTTP, in front of the same tool server: installed by exact version into
 * a folder that is gone afterwards, and started as their own documents say. They record nothing, and ask nobody who it is.
 */
import { execFile, fork } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Later } from './cleanup.ts';
import { makeFolder } from './database.ts';
import { freePort } from './nginx.ts';
import { cpuMicros } from './proc.ts';
import { endProcess, messageOf } from './processes.ts';

export interface NpmGateway {
  /** `name@version`. */
  readonly name: string;
  readonly port: number;
  readonly cpuMicros: () => number;
}

const installTimeoutMs = 180_000;

/** Programs that bring a gateway up on `port`; they stand beside the packages, so that these are found. */
const gateways: readonly { readonly name: string; readonly program: string }[] = [
  {
    name: '@civic/passthrough-mcp-server@0.12.1',
    program: `
import { createPassthroughProxy } from '@civic/passthrough-mcp-server';
const { origin, pathname } = new URL(upstream);
await createPassthroughProxy({
  source: { transportType: 'httpStream', port },
  target: { transportType: 'httpStream', url: origin, mcpPath: pathname },
});`,
  },
  {
    name: 'mcp-proxy@6.7.19',
    program: `
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Server } from '@modelcontextprotocol/server';
import { proxyServer, startHTTPServer } from 'mcp-proxy';
const client = new Client({ name: 'bench', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(upstream)));
const serverCapabilities = client.getServerCapabilities();
const createServer = async () => {
  const server = new Server(client.getServerVersion(), { capabilities: serverCapabilities });
  await proxyServer({ client, server, serverCapabilities });
  return server;
};
await startHTTPServer({ createServer, port, host: '127.0.0.1', eventStore: false });`,
  },
];

/** Those that could be installed and started; for each other one a line says why it is left out. */
export async function startNpmGateways(upstreamPort: number, later: Later): Promise<NpmGateway[]> {
  const started: NpmGateway[] = [];
  for (const { name, program } of gateways) {
    try {
      started.push(await startOne(name, program, upstreamPort, later));
    } catch (error) {
      console.log(`${name} is left out: ${String(error).split('\n', 1)[0]}`);
    }
  }
  return started;
}

async function startOne(name: string, program: string, upstreamPort: number, later: Later): Promise<NpmGateway> {
  const folder = await makeFolder('talos-bench-npm-', later);
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const args = ['install', '--no-audit', '--no-fund', '--no-progress', '--ignore-scripts', name];
  await promisify(execFile)('npm', args, { cwd: folder, timeout: installTimeoutMs });
  const port = await freePort();
  await writeFile(join(folder, 'start.mjs'), wrapped(program, `http://127.0.0.1:${upstreamPort}/mcp`, port));
  const child = fork(join(folder, 'start.mjs'), [], {
    cwd: folder,
    env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production' },
    // Some log each request.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  later(() => endProcess(child));
  await messageOf(child);
  return { name, port, cpuMicros: () => cpuMicros(child.pid as number) };
}

/** Imports are hoisted, so what the program uses may stand after them. */
function wrapped(program: string, upstream: string, port: number): string {
  return `const upstream = ${JSON.stringify(upstream)}, port = ${port};${program}
process.on('disconnect', () => process.exit());
process.send('ready');
`;
}
