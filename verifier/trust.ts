/**
 * Whom the verifier believes: keys of logs, keys of witnesses, and which witnesses must have seen a checkpoint. Given as
 * verifier keys (C2SP signed-note) or as a policy file (C2SP tlog-policy). All keys are Ed25519.
 */
import { type Bytes, concat, demand, fromBase64, hex, sha256, utf8 } from './bytes.ts';

export interface Key {
  readonly name: string;
  /** 8 hex digits: what note signatures name the key by, beside its name. */
  readonly id: string;
  readonly isWitness: boolean;
  /** hex of the public key. */
  readonly raw: string;
  /** The time of a signature of the note text in Unix seconds (0 for a log's), or undefined when it is wrong. */
  readonly verify: (text: string, signature: Bytes) => Promise<number | undefined>;
}

export interface Trust {
  readonly logs: readonly Key[];
  /** By the name that the policy gives them. */
  readonly witnesses: ReadonlyMap<string, Key>;
  /** Whether these witnesses, by that name, are enough. */
  readonly isQuorum: Rule;
}

type Rule = (cosigned: ReadonlySet<string>) => boolean;

/**
 * `vkeys` are keys of logs (type 1) and witnesses (type 4); `quorum` witnesses must have cosigned, by default all that
 * are given. A log key is believed for the origin that it is named after.
 */
export type TrustSource = { readonly vkeys: readonly string[]; readonly quorum?: number } | { readonly policy: string };

/** Throws `Refusal` for a key or policy that cannot be used. */
export async function trust(source: TrustSource): Promise<Trust> {
  const { logs, witnesses, isQuorum } = 'policy' in source ? await ofPolicy(source.policy) : await ofKeys(source);
  demand(logs.length > 0, 'There is no key of a log.');
  for (const keys of [logs, [...witnesses.values()]]) {
    // Under two names it would be counted as two parties.
    demand(new Set(keys.map(({ raw }) => raw)).size === keys.length, 'A key is given twice.');
  }
  return { logs, witnesses, isQuorum };
}

async function ofKeys({ vkeys, quorum }: { vkeys: readonly string[]; quorum?: number }): Promise<Trust> {
  const keys = await Promise.all(vkeys.map(parseKey));
  const witnesses = keys.filter(({ isWitness }) => isWitness);
  const needed = quorum ?? witnesses.length;
  demand(needed >= 0 && needed <= witnesses.length, `There are not ${needed} keys of witnesses.`);
  return {
    logs: keys.filter(({ isWitness }) => !isWitness),
    witnesses: new Map(witnesses.map((key) => [`${key.name}+${key.id}`, key])),
    isQuorum: (cosigned) => cosigned.size >= needed,
  };
}

async function parseKey(text: string): Promise<Key> {
  const [, name, id, encoded] = /^([^+\p{White_Space}]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/u.exec(text) ?? [];
  demand(name !== undefined && id !== undefined, 'A key is not <name>+<8 hex digits>+<base64>.');
  const bytes = fromBase64(encoded ?? '');
  const [type, raw] = [bytes[0], bytes.slice(1)];
  demand(type === 1 || type === 4, `The key of ${name} has the signature type ${type}, not 1 or 4.`);
  const hash = await sha256(concat(utf8(`${name}\n`), bytes));
  demand(raw.length === 32 && hex(hash.slice(0, 4)) === id, `The key of ${name} is damaged.`);
  const key = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify']);
  const isSigned = (message: string, signature: Bytes) =>
    crypto.subtle.verify('Ed25519', key, signature, utf8(message));
  const verifyNote = async (text: string, signature: Bytes) => ((await isSigned(text, signature)) ? 0 : undefined);
  // C2SP tlog-cosignature: the time as 64 bits, then a signature that covers it.
  const verifyCosignature = async (text: string, signature: Bytes) => {
    if (signature.length !== 72) return undefined;
    const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
    return (await isSigned(`cosignature/v1\ntime ${time}\n${text}`, signature.slice(8))) ? Number(time) : undefined;
  };
  return { name, id, isWitness: type === 4, raw: hex(raw), verify: type === 4 ? verifyCosignature : verifyNote };
}

async function ofPolicy(text: string): Promise<Trust> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the format allows tab and newline only.
  demand(text.length <= 262_144 && !/[\x00-\x08\x0b-\x1f\x7f]/.test(text), 'The policy is too long or is not text.');
  const policy = new Policy();
  for (const line of text.split('\n')) {
    const words = line.split(/[ \t]+/).filter((word) => word !== '');
    if (words[0] !== undefined && !words[0].startsWith('#')) await policy.add(words);
  }
  return policy;
}

/** A policy as its lines are read: a name must be defined before it is used, and only once. */
class Policy implements Trust {
  readonly logs: Key[] = [];
  readonly witnesses = new Map<string, Key>();
  /** Of witnesses and groups, which share one space of names. */
  readonly #rules = new Map<string, Rule>([['none', () => true]]);
  readonly #members = new Set(['none']);
  #quorum: Rule | undefined;

  get isQuorum(): Rule {
    demand(this.#quorum !== undefined, 'The policy has no quorum line.');
    return this.#quorum;
  }

  async add([kind, name = '', second = '', ...more]: readonly string[]): Promise<void> {
    if (kind === 'log' && name !== '' && more.length === 0) this.logs.push(await keyFor(name, false));
    else if (kind === 'witness' && more.length <= 1) {
      this.#define(name, (cosigned) => cosigned.has(name));
      this.witnesses.set(name, await keyFor(second, true));
    } else if (kind === 'group') this.#define(name, this.#groupRule(second, more));
    else {
      demand(kind === 'quorum' && second === '' && this.#quorum === undefined, `The policy has a wrong ${kind} line.`);
      this.#quorum = this.#rule(name);
    }
  }

  #define(name: string, rule: Rule): void {
    demand(!this.#rules.has(name), `The policy cannot define ${name} here.`);
    this.#rules.set(name, rule);
  }

  #rule(name: string): Rule {
    const rule = this.#rules.get(name);
    demand(rule !== undefined, `The policy uses ${name} before it defines it.`);
    return rule;
  }

  #groupRule(threshold: string, members: readonly string[]): Rule {
    const needed = threshold === 'any' ? 1 : threshold === 'all' ? members.length : Number(threshold);
    const isThreshold = /^(?:any|all|[1-9][0-9]*)$/.test(threshold) && needed >= 1 && needed <= members.length;
    demand(isThreshold, `The policy has a group of ${members.length} with the threshold ${threshold}.`);
    const rules = members.map((member) => {
      demand(!this.#members.has(member), `${member} cannot be a member of a group here.`);
      this.#members.add(member);
      return this.#rule(member);
    });
    return (cosigned) => rules.filter((rule) => rule(cosigned)).length >= needed;
  }
}

async function keyFor(text: string, isWitness: boolean): Promise<Key> {
  const key = await parseKey(text);
  demand(key.isWitness === isWitness, `The key of ${key.name} is not of the type for its line.`);
  return key;
}
