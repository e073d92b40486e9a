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
import { callTarget, upstreamTarget } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

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
    generator.contender('gateway', callTarget(gateway.port), connections),
  ];
  if (options.profile !== undefined) {
    const load = { seconds: options.seconds, meters };
    printMeasurements(await measureInTurns([generator.contender('gateway', callTarget(gateway.port), 32)], load));
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
      budgets: [...(nginx === undefined ? [] : [throughputBudget(busy)]), ...latencyBudgets(alone)],
    },
    options,
  );
}

function throughputBudget(busy: readonly Measurement[]): Budget {
  const value = perSecondOf(busy, 'gateway') / perSecondOf(busy, 'nginx');
  return { what: 'tool call, throughput over nginx', unit: '', value, must: 0.25, aim: 0.5, better: 'more' };
}

function latencyBudgets(alone: readonly Measurement[]): Budget[] {
  const added = (q: 'p50' | 'p99') =>
    (named(alone, 'gateway').latencyMs?.[q] ?? Number.NaN) - (named(alone, 'direct').latencyMs?.[q] ?? Number.NaN);
  const better = 'less';
  return [
    { what: 'tool call, added latency p50', unit: 'ms', value: added('p50'), must: 2, aim: 1, better },
    { what: 'tool call, added latency p99', unit: 'ms', value: added('p99'), must: 8, aim: 5, better },
  ];
}
