/**
 * Tool calls over REST with a signed capability, each recorded durably before its answer, against the same calls sent
 * directly to the tool server and through nginx as a bare reverse proxy. Nothing that is compared records anything.
 */
import { type Later, withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { startGateway } from './lib/gateway.ts';
import { startGenerator } from './lib/generator.ts';
import { startNginx } from './lib/nginx.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros, familyCpuMicros, residentMb } from './lib/proc.ts';
import { deliver, memoryFacts, printMeasurements } from './lib/report.ts';
import { type Contender, type Measurement, measureInTurns, named, perSecondOf } from './lib/rounds.ts';
import type { Budget } from './lib/statistics.ts';
import { readCallTarget, unclassifiedCallTarget, upstreamTarget } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

const readCall = 'gateway, read tool';
const unclassifiedCall = 'gateway, unclassified';

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const database = await openDatabase(later);
  const upstream = await startUpstream(later);
  const nginx = await startNginx(upstream.port, later);
  const gateway = await startGateway(
    { upstreamPort: upstream.port, databaseUrl: database.url, profile: options.profile },
    later,
  );
  const generator = await startGenerator(later);
  const meters = {
    gateway: () => cpuMicros(gateway.pid),
    database: () => (database.postmaster === undefined ? Number.NaN : familyCpuMicros(database.postmaster)),
    ...(nginx === undefined ? {} : { nginx: nginx.cpuMicros }),
    upstream: upstream.cpuMicros,
    generator: generator.cpuMicros,
  };
  const contendersAt = (connections: number): Contender[] => [
    generator.contender('direct', upstreamTarget(upstream.port), connections),
    ...(nginx === undefined ? [] : [generator.contender('nginx', upstreamTarget(nginx.port), connections)]),
    generator.contender(readCall, readCallTarget(gateway.port), connections),
    generator.contender(unclassifiedCall, unclassifiedCallTarget(gateway.port), connections),
  ];
  if (options.profile !== undefined) {
    const load = { seconds: options.seconds, meters };
    printMeasurements(await measureInTurns([generator.contender(readCall, readCallTarget(gateway.port), 32)], load));
    return;
  }

  const before = residentMb(gateway.pid);
  const busy = await measureInTurns(contendersAt(32), { seconds: options.seconds, meters });
  const after = residentMb(gateway.pid);
  const alone = await measureInTurns(contendersAt(1), { seconds: options.seconds, meters });
  const reference = nginx === undefined ? 'direct' : 'nginx';
  await deliver(
    {
      benchmark: 'tool-call',
      command: `node bench/tool-call.ts --seconds ${options.seconds}`,
      environment: { PostgreSQL: database.version, nginx: nginx?.version ?? 'not installed' },
      sections: [
        { title: 'Tool call, concurrency 32', unit: 'calls', measurements: busy, reference },
        { title: 'Tool call, concurrency 1', unit: 'calls', measurements: alone, reference },
      ],
      facts: [memoryFacts('under tool calls', before, after)],
      budgets: [...(nginx === undefined ? [] : throughputBudgets(busy)), ...latencyBudgets(alone)],
    },
    options,
  );
}

/** What must be reached holds for calls of any tool, with their two records; the aim for those that only read. */
function throughputBudgets(busy: readonly Measurement[]): Budget[] {
  const over = (name: string) => perSecondOf(busy, name) / perSecondOf(busy, 'nginx');
  const what = 'tool call over nginx, throughput';
  return [
    { what: `${what}, unclassified`, unit: '', value: over(unclassifiedCall), must: 0.25, better: 'more' },
    { what: `${what}, read tool`, unit: '', value: over(readCall), aim: 0.5, better: 'more' },
  ];
}

function latencyBudgets(alone: readonly Measurement[]): Budget[] {
  const added = (name: string, q: 'p50' | 'p99') =>
    (named(alone, name).latencyMs?.[q] ?? Number.NaN) - (named(alone, 'direct').latencyMs?.[q] ?? Number.NaN);
  const what = 'tool call, added latency';
  return [
    { what: `${what} p50, unclassified`, unit: 'ms', value: added(unclassifiedCall, 'p50'), must: 2, better: 'less' },
    { what: `${what} p99, unclassified`, unit: 'ms', value: added(unclassifiedCall, 'p99'), must: 8, better: 'less' },
    { what: `${what} p50, read tool`, unit: 'ms', value: added(readCall, 'p50'), aim: 1, better: 'less' },
    { what: `${what} p99, read tool`, unit: 'ms', value: added(readCall, 'p99'), aim: 5, better: 'less' },
  ];
}
