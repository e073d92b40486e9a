/**
 * The list of all tools over MCP: 50 servers of 20 tools each, asked for at once after a start (cold) and again and again
 * (warm), with all servers up, and with three of them down: one refuses connections, one never answers, one is slow.
 */
import { type Later, withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { type BenchGateway, capability, startGateway } from './lib/gateway.ts';
import { startGenerator } from './lib/generator.ts';
import { freePort } from './lib/nginx.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros } from './lib/proc.ts';
import { endProcess, messageOf, startWorker } from './lib/processes.ts';
import { deliver, type Facts } from './lib/report.ts';
import { measureInTurns } from './lib/rounds.ts';
import { figure } from './lib/statistics.ts';
import { nativeListTarget } from './lib/targets.ts';

const serversCount = 50;
const toolsEach = 20;
const coldStarts = 3;
const connections = 4;
const coldTimeoutMs = 60_000;

/** Addresses of tool servers, by id. */
type Servers = Readonly<Record<string, string>>;

const idOf = (at: number) => `S${String(at).padStart(2, '0')}`;

const addressOf = (port: number) => ({ port, path: '/mcp', authorization: `Bearer ${capability(scopeOfAll())}` });

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const variants: Readonly<Record<string, Servers>> = {
    'all up': await startFleet(later, { hanging: 0, slow: 0, refusing: 0 }),
    'three down': await startFleet(later, { hanging: 1, slow: 1, refusing: 1 }),
  };
  const cold: (readonly [string, string])[] = [];
  for (const [name, servers] of Object.entries(variants)) cold.push([`${name}, cold`, await coldLists(servers)]);

  const generator = await startGenerator(later);
  const gateways = new Map<string, BenchGateway>();
  for (const [name, servers] of Object.entries(variants)) gateways.set(name, await start(servers, later));
  const contenders = [...gateways].map(([name, { port }]) =>
    generator.contender(name, nativeListTarget(addressOf(port), sureNames()), connections),
  );
  const meters = Object.fromEntries([...gateways].map(([name, { pid }]) => [name, () => cpuMicros(pid)]));
  const measurements = await measureInTurns(contenders, { seconds: options.seconds, meters });
  const facts: Facts = { title: 'The first list after a start, and the tools in it', rows: cold };
  await deliver(
    {
      benchmark: 'native-list',
      command: `node bench/native-list.ts --seconds ${options.seconds}`,
      environment: { servers: String(serversCount), 'tools each': String(toolsEach) },
      sections: [{ title: `Warm, concurrency ${connections}`, unit: 'lists', measurements, reference: 'all up' }],
      facts: [facts],
      budgets: [],
    },
    options,
  );
}

interface Down {
  readonly hanging: number;
  readonly slow: number;
  readonly refusing: number;
}

/** Those that are down are the last ones. */
async function startFleet(later: Later, { hanging, slow, refusing }: Down): Promise<Servers> {
  const listening = serversCount - refusing;
  const worker = await startWorker('./fleet-process.ts', [listening, toolsEach, hanging, slow].map(String));
  later(() => endProcess(worker));
  const ports = await messageOf<number[]>(worker);
  for (let at = 0; at < refusing; at++) ports.push(await freePort());
  return Object.fromEntries(ports.map((port, at) => [idOf(at), `http://127.0.0.1:${port}/mcp`]));
}

/** Tools of the first and of the last server that is up in both variants. */
function sureNames(): string[] {
  return [0, serversCount - 4].map((at) => `${idOf(at).toLowerCase()}__tool_${toolsEach - 1}`);
}

function scopeOfAll(): string {
  return Array.from({ length: serversCount }, (_, at) => `tool:${idOf(at).toLowerCase()}`).join(' ');
}

/** A log belongs to one gateway's key, so each has a database of its own. */
async function start(servers: Servers, later: Later): Promise<BenchGateway> {
  const database = await openDatabase(later);
  return startGateway({ servers, databaseUrl: database.url }, later);
}

/** Each of a gateway that has just said that it is ready. */
async function coldLists(servers: Servers): Promise<string> {
  const lists: string[] = [];
  for (let at = 0; at < coldStarts; at++) {
    await withCleanup(async (later) => {
      const { port } = await start(servers, later);
      lists.push(await timedList(port));
    });
  }
  return lists.join(', ');
}

async function timedList(port: number): Promise<string> {
  const { requests } = nativeListTarget(addressOf(port), []);
  const [head = '', body = ''] = Buffer.from(requests[0] ?? [])
    .toString()
    .split('\r\n\r\n');
  const headers = head
    .split('\r\n')
    .slice(1)
    .map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])
    .filter(([name]) => !['host', 'content-length'].includes(name));
  const startedAtMs = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/mcp`, {
    method: 'POST',
    headers,
    body,
    signal: AbortSignal.timeout(coldTimeoutMs),
  });
  const { result } = (await response.json()) as { readonly result?: { readonly tools: readonly unknown[] } };
  return `${figure(performance.now() - startedAtMs)} ms (${result?.tools.length ?? 0})`;
}
