/**
 * Tool calls over MCP itself, as clients of both eras send them, each authorised and recorded durably before its answer,
 * against the same calls through nginx as a bare reverse proxy and through npm's gateways from Streamable HTTP to
 * Streamable HTTP, all in front of one tool server. Nothing that is compared records anything.
 */
import { type Later, withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { capability, startGateway } from './lib/gateway.ts';
import { type Generator, startGenerator } from './lib/generator.ts';
import { startNginx } from './lib/nginx.ts';
import { type NpmGateway, startNpmGateways } from './lib/npm-gateways.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros, familyCpuMicros } from './lib/proc.ts';
import { deliver, printMeasurements } from './lib/report.ts';
import { type Contender, type Measurement, measureInTurns, perSecondOf } from './lib/rounds.ts';
import type { Budget } from './lib/statistics.ts';
import { type ClientEra, nativeCallTarget, openNativeSession } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

const connections = 32;
const eras: readonly ClientEra[] = ['session', 'stateless'];
/** Two tools that differ in how the operator classified them. */
const tools = { 'read tool': 'get_forecast', unclassified: 'book_forecast' } as const;
type ToolClass = keyof typeof tools;

const gatewayName = (toolClass: ToolClass, era: ClientEra) => `gateway, ${toolClass}, ${era} era`;

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const database = await openDatabase(later);
  const upstream = await startUpstream(later);
  const nginx = await startNginx(upstream.port, later);
  const others = options.profile === undefined ? await startNpmGateways(upstream.port, later) : [];
  const gateway = await startGateway(
    { upstreamPort: upstream.port, databaseUrl: database.url, profile: options.profile },
    later,
  );
  const generator = await startGenerator(later);
  const own = await gatewayContenders(generator, gateway.port);
  const meters = {
    gateway: () => cpuMicros(gateway.pid),
    database: () => (database.postmaster === undefined ? Number.NaN : familyCpuMicros(database.postmaster)),
    ...(nginx === undefined ? {} : { nginx: nginx.cpuMicros }),
    npm: () => others.reduce((sum, other) => sum + other.cpuMicros(), 0),
    upstream: upstream.cpuMicros,
    generator: generator.cpuMicros,
  };
  const load = { seconds: options.seconds, meters };
  if (options.profile !== undefined) {
    printMeasurements(await measureInTurns(own, load));
    return;
  }
  const bare = (name: string, port: number) =>
    generator.contender(name, nativeCallTarget({ port, path: '/mcp' }, tools.unclassified, 'session'), connections);
  const reference = nginx === undefined ? bare('direct', upstream.port) : bare('nginx', nginx.port);
  const measurements = await measureInTurns([reference, ...(await npmContenders(generator, others)), ...own], load);
  await deliver(
    {
      benchmark: 'native-call',
      command: `node bench/native-call.ts --seconds ${options.seconds}`,
      environment: { PostgreSQL: database.version, nginx: nginx?.version ?? 'not installed' },
      sections: [
        { title: `Call over MCP, concurrency ${connections}`, unit: 'calls', measurements, reference: reference.name },
      ],
      facts: [],
      budgets: [
        ...(nginx === undefined ? [] : budgetsOver(measurements, 'nginx', { must: 0.25, aim: 0.5 })),
        ...(others.length === 0 ? [] : budgetsOver(measurements, fastest(measurements, others), { must: 4, aim: 10 })),
      ],
    },
    options,
  );
}

/** One session each, shared by all connections; the stateless era has none. */
async function gatewayContenders(generator: Generator, port: number): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const era of eras) {
    for (const [toolClass, tool] of Object.entries(tools) as [ToolClass, string][]) {
      const authorization = `Bearer ${capability(`tool:bench/method:${tool}`)}`;
      const address = { port, path: '/mcp/bench', authorization };
      const opened = era === 'session' ? await openNativeSession(address) : address;
      const target = nativeCallTarget(opened, tool, era);
      contenders.push(generator.contender(gatewayName(toolClass, era), target, connections));
    }
  }
  return contenders;
}

async function npmContenders(generator: Generator, gateways: readonly NpmGateway[]): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const { name, port } of gateways) {
    const opened = await openNativeSession({ port, path: '/mcp' });
    contenders.push(generator.contender(name, nativeCallTarget(opened, tools.unclassified, 'session'), connections));
  }
  return contenders;
}

function fastest(measurements: readonly Measurement[], gateways: readonly NpmGateway[]): string {
  const [first = ''] = gateways
    .map(({ name }) => name)
    .sort((a, b) => perSecondOf(measurements, b) - perSecondOf(measurements, a));
  return first;
}

/** What must be reached holds for calls of any tool, with their two records; the aim for those that only read. */
function budgetsOver(
  measurements: readonly Measurement[],
  reference: string,
  { must, aim }: { readonly must: number; readonly aim: number },
): Budget[] {
  return eras.flatMap((era): Budget[] => {
    const over = (toolClass: ToolClass) =>
      perSecondOf(measurements, gatewayName(toolClass, era)) / perSecondOf(measurements, reference);
    const what = `native call over ${reference}, ${era} era`;
    return [
      { what: `${what}, unclassified`, unit: '', value: over('unclassified'), must, better: 'more' },
      { what: `${what}, read tool`, unit: '', value: over('read tool'), aim, better: 'more' },
    ];
  });
}
