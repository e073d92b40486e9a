/** nginx as a bare reverse proxy: one worker per core, connections kept alive both ways, no log. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Later } from './cleanup.ts';
import { makeFolder } from './database.ts';
import { familyCpuMicros } from './proc.ts';
import { endProcess } from './processes.ts';

export interface Nginx {
  readonly port: number;
  readonly version: string;
  readonly cpuMicros: () => number;
}

const startTimeoutMs = 5_000;

/** Undefined when nginx is not installed. */
export async function startNginx(upstreamPort: number, later: Later): Promise<Nginx | undefined> {
  const version = nginxVersion();
  if (version === undefined) return undefined;
  const folder = await makeFolder('talos-bench-nginx-', later);
  const port = await freePort();
  const file = join(folder, 'nginx.conf');
  await writeFile(file, configuration(folder, port, upstreamPort));
  const child = spawn('nginx', ['-c', file, '-p', folder, '-e', join(folder, 'error.log')], { stdio: 'inherit' });
  later(() => endProcess(child));
  await listening(port);
  return { port, version, cpuMicros: () => familyCpuMicros(child.pid as number) };
}

function nginxVersion(): string | undefined {
  try {
    // It prints its version on standard error, which goes to the output here.
    const text = execFileSync('sh', ['-c', 'nginx -v 2>&1'], { encoding: 'utf8' });
    return /nginx\/(\S+)/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}

function configuration(folder: string, port: number, upstreamPort: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes ${availableParallelism()};
pid ${folder}/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ')}
  keepalive_requests 1000000000;
  upstream tool {
    server 127.0.0.1:${upstreamPort};
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://tool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`;
}

// nginx cannot be told to choose a port by itself.
/** A TCP port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('The system gave no port.');
  return address.port;
}

async function listening(port: number): Promise<void> {
  const untilMs = performance.now() + startTimeoutMs;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (performance.now() > untilMs) throw error;
    } finally {
      socket.destroy();
    }
    await delay(20);
  }
}
