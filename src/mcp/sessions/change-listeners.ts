/**
 * Who waits to hear that a list of one server changed, on the connection that all its clients share. They hear it at once,
 * and not more often than there is reason to: a server that says it without end is heard now and then.
 */
import type { JsonObject } from '../../core/json.ts';
import { announcesChanges } from '../protocol/era.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';

export const toolsChanged = 'notifications/tools/list_changed';

type Listener = (method: string, params: JsonObject) => void;

/** Members of the filter of `subscriptions/listen`, what a server says it announces them by, and what it then sends. */
const lists = [
  { wanted: 'toolsListChanged', of: 'tools', method: toolsChanged },
  { wanted: 'promptsListChanged', of: 'prompts', method: 'notifications/prompts/list_changed' },
  { wanted: 'resourcesListChanged', of: 'resources', method: 'notifications/resources/list_changed' },
] as const;

export class ChangeListeners {
  readonly #listeners = new Set<Listener>();
  readonly #ends = new Set<() => void>();
  readonly #restMs: number;
  /** What was told a moment ago; with what came since, to be told when that moment is over. */
  readonly #resting = new Map<string, { readonly timer: NodeJS.Timeout; next: JsonObject | undefined }>();

  /** @param restMs How long after a change the next one of the same list is told. */
  constructor(restMs: number) {
    this.#restMs = restMs;
  }

  get isAttended(): boolean {
    return this.#listeners.size > 0;
  }

  /** The returned function calls it off. */
  add(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(method: string, params: JsonObject): void {
    if (!lists.some((list) => list.method === method)) return;
    const resting = this.#resting.get(method);
    if (resting !== undefined) {
      resting.next = params;
      return;
    }
    this.#rest(method);
    for (const listener of [...this.#listeners]) listener(method, params);
  }

  #rest(method: string): void {
    const timer = setTimeout(() => {
      const next = this.#resting.get(method)?.next;
      this.#resting.delete(method);
      if (next !== undefined) this.tell(method, next);
    }, this.#restMs).unref();
    this.#resting.set(method, { timer, next: undefined });
  }

  /** There will be no more changes: whoever listens is told. */
  end(): void {
    const ends = [...this.#ends];
    this.#ends.clear();
    this.#listeners.clear();
    for (const { timer } of this.#resting.values()) clearTimeout(timer);
    this.#resting.clear();
    for (const end of ends) end();
  }

  /** Until its signal is aborted, for the lists of the filter that the server announces. */
  listen({ filter, onNotification, onEnd, signal }: ListenOptions, hello: ServerHello): Listening {
    const honoured = lists.filter(({ wanted, of }) => filter[wanted] === true && announcesChanges(hello, of));
    const methods = new Set<string>(honoured.map(({ method }) => method));
    if (methods.size > 0 && !signal.aborted) {
      const remove = this.add((method, params) => methods.has(method) && onNotification(method, params));
      const end = () => onEnd?.();
      this.#ends.add(end);
      signal.addEventListener('abort', () => [remove(), this.#ends.delete(end)], { once: true });
    }
    return { acknowledged: Object.fromEntries(honoured.map(({ wanted }) => [wanted, true])) };
  }
}

/** The filter that asks for every list of which a server announces changes. */
export function announcedLists(hello: ServerHello): JsonObject {
  const announced = lists.filter(({ of }) => announcesChanges(hello, of));
  return Object.fromEntries(announced.map(({ wanted }) => [wanted, true]));
}
