/**
 * Two builds of the gateway in turns on one machine, for whoever changes something on the hot path:
 * `node bench/compare.ts FOLDER` takes the build in another checkout against this one. CPU time for one operation is the
 * figure to look at.
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { type BenchGateway, gatewayProgram, startGateway } from './lib/gateway.ts';
import { startGenerator } from './lib/generator.ts';
import type { Target } from './lib/http-load.ts';
import { cpuMicros, residentMb } from './lib/proc.ts';
import { type Measurement, measureInTurns } from './lib/rounds.ts';
import { figure } from './lib/statistics.ts';
import { readCallTarget, singleEventTarget, unclassifiedCallTarget } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

const turns = 12;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '20' } },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('Usage: node bench/compare.ts FOLDER [--seconds N]');
await withCleanup((later) => main(join(resolve(folder), 'dist/src/main.js'), Number(values.seconds), later));

async function main(other: string, seconds: number, later: Later): Promise<void> {
  const upstream = await startUpstream(later);
  const start = async (program: string) => {
    const database = await openDatabase(later);
    return await startGateway({ program, upstreamPort: upstream.port, databaseUrl: database.url }, later);
  };
  const gateways = { other: await start(other), this: await start(gatewayProgram()) };
  const generator = await startGenerator(later);
  const measure = async (what: string, targetOf: (port: number) => Target, connections: number) => {
    const contenders = Object.entries(gateways).map(([name, { port }]) =>
      generator.contender(name, targetOf(port), connections),
    );
    const meters = { other: meterOf(gateways.other), this: meterOf(gateways.this) };
    print(what, await measureInTurns(contenders, { seconds, meters, turns }));
  };
  await measure('call of a read tool', readCallTarget, 128);
  await measure('call of an unclassified tool', unclassifiedCallTarget, 128);
  await measure('event', singleEventTarget, 256);
  for (const [name, { pid }] of Object.entries(gateways)) console.log(name, residentMb(pid));
}

/** Each one's own meter, over all turns and in the turn that took least. */
function print(what: string, measurements: readonly Measurement[]): void {
  for (const { name, perSecond, cpuUs, leastCpuUs, errors } of measurements) {
    const cpu = `${figure(cpuUs[name])} µs CPU each, at least ${figure(leastCpuUs[name])} µs`;
    console.log(`${what}, ${name}: ${figure(perSecond)}/s, ${cpu}, ${errors} errors`);
  }
}

function meterOf({ pid }: BenchGateway): () => number {
  return () => cpuMicros(pid);
}
