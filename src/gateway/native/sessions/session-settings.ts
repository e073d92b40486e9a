/**
 * What the client of a session with all servers has set: how much is logged to it, and which resources it watches. Each
 * server is told when the session comes to it, and again when it has lost its part of the session.
 */
import { bounds } from '../../../config/bounds.ts';

export class SessionSettings {
  /** Of log messages. */
  level: string | undefined;
  /** Own URIs of resources, by server. */
  readonly #watched = new Map<string, Set<string>>();
  #size = 0;
  #chars = 0;

  watchedAt(serverId: string): readonly string[] {
    return [...(this.#watched.get(serverId) ?? [])];
  }

  watches(serverId: string, uri: string): boolean {
    return this.#watched.get(serverId)?.has(uri) === true;
  }

  /** Whether one more can be watched, or this one is already. */
  hasRoomFor(serverId: string, uri: string): boolean {
    const { mcpSessionWatchedMax, mcpSessionWatchedCharsMax } = bounds;
    const hasRoom = this.#size < mcpSessionWatchedMax && this.#chars + uri.length <= mcpSessionWatchedCharsMax;
    return hasRoom || this.watches(serverId, uri);
  }

  /** Keeps it as far as there is room, which others may have taken since it was asked for. */
  watch(serverId: string, uri: string): void {
    if (this.watches(serverId, uri) || !this.hasRoomFor(serverId, uri)) return;
    const uris = this.#watched.get(serverId) ?? new Set();
    this.#watched.set(serverId, uris.add(uri));
    this.#size++;
    this.#chars += uri.length;
  }

  unwatch(serverId: string, uri: string): void {
    if (this.#watched.get(serverId)?.delete(uri) !== true) return;
    this.#size--;
    this.#chars -= uri.length;
  }
}
