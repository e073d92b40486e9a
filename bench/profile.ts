/**
 * Reads a CPU profile (`--profile FOLDER` of the other benchmarks writes it) and prints where the time went: by
 * function and by package, self time, idle time left out.
 */
import { readFile } from 'node:fs/promises';

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const rowsMax = 45;

const [file, operations] = process.argv.slice(2);
if (file === undefined) throw new Error('Usage: node bench/profile.ts FILE.cpuprofile [OPERATIONS]');
print(JSON.parse(await readFile(file, 'utf8')) as Profile, Number(operations ?? 'NaN'));

function print(profile: Profile, operations: number): void {
  const micros = selfMicros(profile);
  const byFunction = new Map<string, number>();
  const byPackage = new Map<string, number>();
  for (const { id, callFrame } of profile.nodes) {
    if (callFrame.functionName === '(idle)') continue;
    const place = placeOf(callFrame.url);
    add(byFunction, `${callFrame.functionName || '(anonymous)'} ${place}:${callFrame.lineNumber + 1}`, micros.get(id));
    add(byPackage, packageOf(callFrame.url, callFrame.functionName), micros.get(id));
  }
  show('package', byPackage, operations);
  show('function', byFunction, operations);
}

function selfMicros({ samples, timeDeltas }: Profile): Map<number, number> {
  const micros = new Map<number, number>();
  for (const [at, node] of samples.entries()) add(micros, node, timeDeltas[at]);
  return micros;
}

function add<K>(sums: Map<K, number>, key: K, value = 0): void {
  sums.set(key, (sums.get(key) ?? 0) + value);
}

function placeOf(url: string): string {
  return url.replace(/^.*\/node_modules\//, '').replace(/^file:.*?\/((?:dist\/)?src\/)/, '$1');
}

function packageOf(url: string, functionName: string): string {
  if (url === '') return functionName.startsWith('(') ? functionName : 'native';
  const place = placeOf(url);
  if (place.startsWith('node:')) return place;
  return /^(?:dist\/)?src\/[^/]+/.exec(place)?.[0] ?? /^(?:@[^/]+\/)?[^/]+/.exec(place)?.[0] ?? place;
}

function show(what: string, sums: ReadonlyMap<string, number>, operations: number): void {
  const total = [...sums.values()].reduce((sum, value) => sum + value, 0);
  const rows = [...sums].sort(([, a], [, b]) => b - a).slice(0, rowsMax);
  console.log(`\n${what}, of ${(total / 1e6).toFixed(2)} s busy`);
  for (const [name, value] of rows) {
    const each = Number.isNaN(operations) ? '' : `${(value / operations).toFixed(1).padStart(7)} µs`;
    console.log(`${((100 * value) / total).toFixed(1).padStart(6)} %${each}  ${name}`);
  }
}
