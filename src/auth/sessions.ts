/**
 * Sessions: a caller who has shown a capability once need not send it again. A session is bound to who they were then
 * and to that capability; its id is no credential of its own, and what it stands for is judged anew at every request.
 */
import { randomBytes } from 'node:crypto';
import { LruMap } from '../core/lru-map.ts';
import type { Principal } from '../core/principal.ts';
import type { CapabilityHolder } from './caller.ts';

interface Session<Authority> {
  readonly owner: string;
  readonly authority: Authority;
}

const idBytes = 16;

export class Sessions<Authority extends CapabilityHolder> {
  readonly #byId: LruMap<Session<Authority>>;
  /** The id of whoever shows the same capability again. */
  readonly #ids: LruMap<string>;

  constructor(entriesMax: number) {
    this.#byId = new LruMap(entriesMax);
    this.#ids = new LruMap(entriesMax);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** The id of the session of `principal` with this capability; a new one when there is none. */
  open(principal: Principal, authority: Authority): string {
    const owner = ownerOf(principal);
    const key = `${authority.capability.hash} ${owner}`;
    const known = this.#ids.get(key);
    const id =
      known !== undefined && this.#byId.get(known) !== undefined ? known : randomBytes(idBytes).toString('hex');
    this.#ids.set(key, id);
    this.#byId.set(id, { owner, authority });
    return id;
  }

  /** What the session stands for, when it is one of this principal's. */
  find(id: string, principal: Principal): Authority | undefined {
    const session = this.#byId.get(id);
    return session?.owner === ownerOf(principal) ? session.authority : undefined;
  }

  close(id: string): void {
    this.#byId.delete(id);
  }
}

/** One text for each principal; a JSON text, so that no two can be spelled alike. */
function ownerOf(principal: Principal): string {
  return principal.authMode === 'anonymous' ? 'anonymous' : JSON.stringify([principal.id, principal.teamId]);
}
