/**
 * Contenders are measured in turns, A B A B …, so that a noisy machine disturbs all of them alike. CPU time is read
 * before and after each turn, so that each contender has its own figures.
 */
import { type Percentiles, percentilesMs } from './statistics.ts';

export interface Turn {
  /** Requests, transactions or events: what a rate is given of. */
  readonly operations: number;
  readonly errors: number;
  readonly firstError?: string | undefined;
  readonly seconds: number;
  readonly latenciesUs?: Uint32Array;
}

export interface Contender {
  readonly name: string;
  readonly run: (seconds: number) => Promise<Turn>;
}

/** CPU microseconds that something has used so far. */
export type CpuMeters = Readonly<Record<string, () => number>>;

export interface Measurement {
  readonly name: string;
  readonly operations: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly perSecond: number;
  /** The rate of each turn, as a sign of how steady the machine was. */
  readonly perSecondOfTurns: readonly number[];
  readonly latencyMs: Percentiles | undefined;
  /** CPU microseconds for one operation, by meter. */
  readonly cpuUs: Readonly<Record<string, number>>;
  /** The same in the turn that took least: what disturbs a turn only ever adds. */
  readonly leastCpuUs: Readonly<Record<string, number>>;
}

export interface RoundsOptions {
  readonly seconds: number;
  readonly meters: CpuMeters;
  readonly turns?: number;
}

const turnsDefault = 4;
const warmUpSecMax = 3;

/** Each contender warmed up, then measured for `seconds` in four turns. */
export async function measureInTurns(
  contenders: readonly Contender[],
  { seconds, meters, turns = turnsDefault }: RoundsOptions,
): Promise<Measurement[]> {
  for (const { run } of contenders) await run(Math.min(warmUpSecMax, seconds / 3));
  const tallies = contenders.map((contender) => new Tally(contender, meters));
  for (let turn = 0; turn < turns; turn++) {
    for (const tally of tallies) await tally.take(seconds / turns);
  }
  return tallies.map((tally) => tally.measurement());
}

/** The measurement of the contender of that name. */
export function named(measurements: readonly Measurement[], name: string): Measurement {
  const found = measurements.find((measured) => measured.name === name);
  if (found === undefined) throw new Error(`Nothing was measured under the name ${name}.`);
  return found;
}

export function perSecondOf(measurements: readonly Measurement[], name: string): number {
  return named(measurements, name).perSecond;
}

class Tally {
  readonly #contender: Contender;
  readonly #meters: CpuMeters;
  readonly #turns: Turn[] = [];
  readonly #cpuUs: Record<string, number>[] = [];

  constructor(contender: Contender, meters: CpuMeters) {
    this.#contender = contender;
    this.#meters = meters;
  }

  async take(seconds: number): Promise<void> {
    const before = this.#read();
    this.#turns.push(await this.#contender.run(seconds));
    const after = this.#read();
    this.#cpuUs.push(byMeter(after, (name) => (after[name] ?? 0) - (before[name] ?? 0)));
  }

  #read(): Record<string, number> {
    return byMeter(this.#meters, (name) => this.#meters[name]?.() ?? Number.NaN);
  }

  #cpuUsOfTurns(name: string): number[] {
    return this.#turns.map(({ operations }, at) => (this.#cpuUs[at]?.[name] ?? Number.NaN) / operations);
  }

  measurement(): Measurement {
    const all = this.#turns;
    const sum = (of: (turn: Turn) => number) => all.reduce((total, turn) => total + of(turn), 0);
    const operations = sum((turn) => turn.operations);
    return {
      name: this.#contender.name,
      operations,
      errors: sum((turn) => turn.errors),
      firstError: all.find((turn) => turn.firstError !== undefined)?.firstError,
      perSecond: operations / sum((turn) => turn.seconds),
      perSecondOfTurns: all.map((turn) => turn.operations / turn.seconds),
      latencyMs: percentilesMs(all.flatMap(({ latenciesUs }) => (latenciesUs === undefined ? [] : [latenciesUs]))),
      cpuUs: byMeter(
        this.#meters,
        (name) => this.#cpuUs.reduce((total, turn) => total + (turn[name] ?? 0), 0) / operations,
      ),
      leastCpuUs: byMeter(this.#meters, (name) => Math.min(...this.#cpuUsOfTurns(name))),
    };
  }
}

function byMeter(meters: object, figureOf: (name: string) => number): Record<string, number> {
  return Object.fromEntries(Object.keys(meters).map((name) => [name, figureOf(name)]));
}
