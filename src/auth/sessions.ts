/**
 * Sessions: a caller who has shown a capability once need not send it again, whichever gateway of the database is asked.
 * A session is bound to who they were then and to that capability; its id is no credential of its own, so those who have
 * no other name than their capability get none. What a session stands for is judged anew at every request.
 */
import { randomBytes } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import { sha256Hex } from '../core/hash.ts';
import { isJsonObject } from '../core/json.ts';
import { LruMap } from '../core/lru-map.ts';
import type { Principal } from '../core/principal.ts';
import { openTicket, sealUnder } from '../core/sealed-ticket.ts';
import type { SingleUseStore } from '../storage/single-use.ts';
import type { CapabilityHolder } from './caller.ts';

interface Session<Authority> {
  readonly id: string;
  readonly owner: string;
  readonly authority: Authority;
  readonly endsAtMs: number;
}

export interface SessionsOptions<Authority> {
  readonly entriesMax: number;
  /** Where the other gateways find them: sealed under their ids, so that who reads the store can use none. */
  readonly store: Pick<SingleUseStore, 'put' | 'find' | 'take'>;
  /** Judges a token in full: what another gateway put away is believed no more than what a client sends. */
  readonly authorityOf: (token: string) => Promise<Authority | Denial>;
  readonly clock: Clock;
}

const idBytes = 16;
const idPattern = /^[0-9a-f]{32}$/;

export class Sessions<Authority extends CapabilityHolder> {
  readonly #options: SessionsOptions<Authority>;
  readonly #byId: LruMap<Session<Authority>>;
  /** By capability and owner, for whoever shows the same capability again; settled when other gateways can know it. */
  readonly #opened: LruMap<{ readonly session: Session<Authority>; readonly shared: Promise<void> }>;

  constructor(options: SessionsOptions<Authority>) {
    this.#options = options;
    this.#byId = new LruMap(options.entriesMax);
    this.#opened = new LruMap(options.entriesMax);
  }

  /**
   * The id of the session of `principal` with this capability, which `token` spells; a new one when there is none.
   * Undefined for nobody in particular. While the store is away the session is this gateway's alone.
   */
  async open(principal: Principal, authority: Authority, token: string): Promise<string | undefined> {
    const owner = ownerOf(principal);
    if (owner === undefined) return undefined;
    const key = `${authority.capability.hash} ${owner}`;
    const known = this.#opened.get(key);
    if (known !== undefined && this.#current(known.session.id) !== undefined) {
      await known.shared;
      return known.session.id;
    }
    const endsAtMs = this.#options.clock.now() + bounds.sessionKeptSec * 1000;
    const session = { id: randomBytes(idBytes).toString('hex'), owner, authority, endsAtMs };
    // Whoever shows the capability again, once the store is back, opens one that all can know.
    const shared = this.#share(session, token).catch(() => void this.#opened.delete(key));
    this.#byId.set(session.id, session);
    this.#opened.set(key, { session, shared });
    await shared;
    return session.id;
  }

  /** What the session stands for, when it is one of this principal's. Throws `STORE_UNAVAILABLE`. */
  async find(id: string, principal: Principal): Promise<Authority | Denial | undefined> {
    const owner = ownerOf(principal);
    if (owner === undefined) return undefined;
    const known = this.#current(id);
    if (known !== undefined) return known.owner === owner ? known.authority : undefined;
    return idPattern.test(id) ? await this.#findElsewhere(id, owner) : undefined;
  }

  /** Ends it: what it stood for counts nowhere any more. */
  async close(id: string): Promise<void> {
    this.#byId.delete(id);
    // Another gateway that remembers it will find out by itself, and so will whoever asks the store later.
    await this.#options.store.take(nameOf(id)).catch(() => undefined);
  }

  #current(id: string): Session<Authority> | undefined {
    const session = this.#byId.get(id);
    return session !== undefined && session.endsAtMs > this.#options.clock.now() ? session : undefined;
  }

  async #share({ id, owner, authority, endsAtMs }: Session<Authority>, token: string): Promise<void> {
    const capabilityLeftSec =
      authority.capability.expiresAtSec + bounds.clockSkewSec - this.#options.clock.now() / 1000;
    const keptSec = Math.max(0, Math.min(bounds.sessionKeptSec, Math.ceil(capabilityLeftSec)));
    await this.#options.store.put(nameOf(id), sealUnder(id, JSON.stringify({ owner, token, endsAtMs })), keptSec);
  }

  async #findElsewhere(id: string, owner: string): Promise<Authority | Denial | undefined> {
    const sealed = await this.#options.store.find(nameOf(id));
    const put = sealed === undefined ? undefined : contentOf(id, sealed);
    if (put === undefined || put.owner !== owner || put.endsAtMs <= this.#options.clock.now()) return undefined;
    const authority = await this.#options.authorityOf(put.token);
    if (!isDenial(authority)) this.#byId.set(id, { id, owner, authority, endsAtMs: put.endsAtMs });
    return authority;
  }
}

/** One text for each principal; a JSON text, so that no two can be spelled alike. Undefined for whoever has no name. */
function ownerOf(principal: Principal): string | undefined {
  return principal.authMode === 'anonymous' ? undefined : JSON.stringify([principal.id, principal.teamId]);
}

/** What it is put away under, which says nothing of the id that opens it. */
function nameOf(id: string): string {
  return sha256Hex(`talos-session:${id}`);
}

/** What was put away under the id; undefined when it is not what one of our gateways put there. */
function contentOf(id: string, sealed: Buffer): { owner: string; token: string; endsAtMs: number } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(openTicket(id, sealed));
  } catch {
    return undefined;
  }
  if (!isJsonObject(value)) return undefined;
  const { owner, token, endsAtMs } = value;
  if (typeof owner !== 'string' || typeof token !== 'string' || typeof endsAtMs !== 'number') return undefined;
  return { owner, token, endsAtMs };
}
