/** Readers of a stream, and a writer that makes what they read, in one process apart from what is measured. */
import { clientFrame, openStreamClient, type StreamClient, type StreamTarget } from './stream-client.ts';

export interface OpenOrder {
  readonly kind: 'open';
  readonly target: StreamTarget;
  readonly clients: number;
  /** Opens and never reads. */
  readonly stalled?: boolean;
}

export interface RunOrder {
  readonly kind: 'run';
  readonly seconds: number;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** How many events a body makes. */
  readonly events: number;
  /** A body is sent so often; as soon as all have the one before the last when absent. */
  readonly perSecond?: number;
}

export interface StreamRun {
  readonly deliveries: number;
  readonly seconds: number;
  /** From the time in an event's id, given just before its commit, to a reader; of every tenth reader. */
  readonly latenciesUs: Uint32Array;
  /** The text of an event, as it arrived. */
  readonly sample: string;
}

const opensAtOnce = 64;
const sampledEvery = 10;
const settleMs = 500;
const heartbeatMs = 15_000;
const heartbeat = clientFrame('{"type":"heartbeat","last_cursor":""}');
const idPattern = /"event_id":"([0-9a-f]{8})-([0-9a-f]{4})/;

export class StreamLoad {
  readonly #clients: StreamClient[] = [];
  readonly #latenciesUs: number[] = [];
  #readers = 0;
  #delivered = 0;
  #sample = '';
  #onDelivered: () => void = () => undefined;

  constructor() {
    setInterval(() => {
      for (const { socket } of this.#clients) socket.write(heartbeat);
    }, heartbeatMs).unref();
  }

  async open({ target, clients, stalled = false }: OpenOrder): Promise<void> {
    for (let opened = 0; opened < clients; opened += opensAtOnce) {
      const some = Array.from({ length: Math.min(opensAtOnce, clients - opened) }, (_, n) => {
        const isSampled = (opened + n) % sampledEvery === 0;
        return openStreamClient(target, {
          onEvents: (count) => this.#count(count),
          onText: isSampled && !stalled ? (text) => this.#measure(text) : undefined,
        });
      });
      await Promise.all(some.map((client) => client.opened));
      this.#clients.push(...some);
      if (stalled) for (const { socket } of some) socket.pause();
      else this.#readers += some.length;
    }
  }

  /** Until what came of the opening itself, such as records of it, has arrived. */
  async #settle(): Promise<void> {
    let before = -1;
    while (before !== this.#delivered) {
      before = this.#delivered;
      await sleep(settleMs);
    }
  }

  async run(order: RunOrder): Promise<StreamRun> {
    await this.#settle();
    const startedAtMs = performance.now();
    this.#delivered = 0;
    this.#latenciesUs.length = 0;
    const sent = await this.#write(order, startedAtMs + order.seconds * 1000);
    await this.#until(sent);
    if (this.#delivered > sent) throw new Error(`${this.#delivered} deliveries, and ${sent} were due.`);
    return {
      deliveries: this.#delivered,
      seconds: (performance.now() - startedAtMs) / 1000,
      latenciesUs: Uint32Array.from(this.#latenciesUs),
      sample: this.#sample,
    };
  }

  /** Resolves with how many deliveries are due. */
  async #write(order: RunOrder, endsAtMs: number): Promise<number> {
    const due = order.events * this.#readers;
    let sent = 0;
    while (performance.now() < endsAtMs) {
      const beganAtMs = performance.now();
      await post(order);
      sent += due;
      if (order.perSecond === undefined) await this.#until(sent - due);
      else await sleep(1000 / order.perSecond - (performance.now() - beganAtMs));
    }
    return sent;
  }

  async #until(deliveries: number): Promise<void> {
    while (this.#delivered < deliveries) {
      await new Promise<void>((resolve) => {
        this.#onDelivered = resolve;
      });
    }
  }

  #count(events: number): void {
    this.#delivered += events;
    this.#onDelivered();
  }

  #measure(text: string): void {
    this.#sample ||= text;
    const [, high, low] = idPattern.exec(text) ?? [];
    if (high === undefined || low === undefined) return;
    this.#latenciesUs.push(
      Math.max(0, performance.timeOrigin + performance.now() - Number.parseInt(high + low, 16)) * 1000,
    );
  }
}

async function post({ url, headers, body }: RunOrder): Promise<void> {
  const response = await fetch(url, { method: 'POST', headers, body });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`Not taken: ${response.status} ${text.slice(0, 400)}`);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
