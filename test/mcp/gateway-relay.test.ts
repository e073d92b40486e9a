import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, it, onTestFinished } from 'vitest';

/** Asks the gateway whose address it is given in a process that may open no more files. */
const outOfFiles = `
  import { closeSync, openSync } from 'node:fs';
  import { createGatewayRelay } from './src/mcp/network/gateway-relay.ts';
  const relay = createGatewayRelay();
  const files = [];
  try { for (;;) files.push(openSync('/dev/null')); } catch {}
  const request = { gatewayUrl: process.argv[1], method: 'GET', target: '/', headers: [], body: undefined };
  const said = await relay.send({ ...request, signal: new AbortController().signal }).catch((error) => error.code);
  for (const file of files) closeSync(file);
  console.log(said ?? 'the gateway is gone');
  await relay.close();`;

it('does not take another gateway for gone because this one has too many files open', async () => {
  const other = createServer((_, response) => response.end()).listen(0, '127.0.0.1');
  await once(other, 'listening');
  onTestFinished(() => void other.close());
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const node = [process.execPath, '--input-type=module', '-e', outOfFiles, url];
  const child = spawn('/bin/sh', ['-c', 'ulimit -n 64 && exec "$@"', 'sh', ...node], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  expect(await text(child.stdout)).toBe('SESSION_OWNER_LOST\n');
});
