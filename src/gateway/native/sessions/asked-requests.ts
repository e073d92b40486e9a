/** What servers have asked the client of one session and wait for, by ids of our own: an answer counts once, and only here. */
import type { JsonObject } from '../../../core/json.ts';
import type { RpcId } from '../../../mcp/protocol/inbound.ts';
import type { PeerReply } from '../../../mcp/protocol/peer.ts';

interface Waiting {
  readonly settle: (reply: PeerReply | undefined) => void;
  readonly onProgress: ((params: JsonObject) => void) | undefined;
}

export class AskedRequests {
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  get size(): number {
    return this.#waiting.size;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /** The client's reply; undefined when `signal` is aborted or nobody can reply any more. */
  async replyTo(
    id: number,
    signal: AbortSignal,
    onProgress: ((params: JsonObject) => void) | undefined,
  ): Promise<PeerReply | undefined> {
    if (signal.aborted) return undefined;
    return await new Promise((resolve) => {
      const settle = (reply: PeerReply | undefined) => {
        this.#waiting.delete(id);
        signal.removeEventListener('abort', onAbort);
        resolve(reply);
      };
      const onAbort = () => settle(undefined);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.set(id, { settle, onProgress });
    });
  }

  /** False when nobody waits for it. */
  settle(id: RpcId, reply: PeerReply): boolean {
    const waiting = typeof id === 'number' ? this.#waiting.get(id) : undefined;
    waiting?.settle(reply);
    return waiting !== undefined;
  }

  /** Progress that the client tells: its token is the id that it was asked under. */
  progress(params: JsonObject): void {
    const { progressToken } = params as JsonObject & { progressToken?: unknown };
    if (typeof progressToken === 'number') this.#waiting.get(progressToken)?.onProgress?.(params);
  }

  giveUp(): void {
    for (const { settle } of [...this.#waiting.values()]) settle(undefined);
  }
}
