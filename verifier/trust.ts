/**
 * Whom the verifier believes: keys of logs, keys of witnesses, and how many witnesses must have seen a checkpoint. Given
 * as verifier keys (C2SP signed-note) or as a policy file (C2SP tlog-policy). All keys are Ed25519.
 */
import { type Bytes, concat, fromBase64, hex, Malformed, sha256, utf8 } from './bytes.ts';

export interface Key {
  readonly name: string;
  /** 8 hex digits: what note signatures name the key by, beside its name. */
  readonly id: string;
  readonly isWitness: boolean;
  /** hex of the public key. */
  readonly raw: string;
  readonly verify: (signature: Bytes, message: Bytes) => Promise<boolean>;
}

export interface Trust {
  readonly logs: readonly Key[];
  /** By the name that the policy gives them. */
  readonly witnesses: ReadonlyMap<string, Key>;
  /** Whether these witnesses, by that name, are enough. */
  readonly isQuorum: (cosigned: ReadonlySet<string>) => boolean;
}

/**
 * `vkeys` are keys of logs (type 1) and witnesses (type 4); `quorum` witnesses must have cosigned, by default all that
 * are given. A log key is believed for the origin that it is named after.
 */
export type TrustSource = { readonly vkeys: readonly string[]; readonly quorum?: number } | { readonly policy: string };

/** Throws `Malformed` for a key or policy that cannot be used. */
export async function trust(source: TrustSource): Promise<Trust> {
  if ('policy' in source) return await parsePolicy(source.policy);
  const keys = await Promise.all(source.vkeys.map(parseKey));
  refuseTwice(keys);
  const witnesses = new Map(keys.filter((key) => key.isWitness).map((key) => [`${key.name}+${key.id}`, key]));
  const quorum = source.quorum ?? witnesses.size;
  if (!(quorum >= 0 && quorum <= witnesses.size)) throw new Malformed(`There are not ${quorum} witness keys.`);
  const logs = keys.filter((key) => !key.isWitness);
  if (logs.length === 0) throw new Malformed('There is no key of a log.');
  return { logs, witnesses, isQuorum: (cosigned) => cosigned.size >= quorum };
}

async function parseKey(text: string): Promise<Key> {
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text) ?? [];
  const bytes = fromBase64(encoded ?? '');
  if (name === undefined || id === undefined || bytes === undefined || /\p{White_Space}/u.test(name)) {
    throw new Malformed('A key is not <name>+<8 hex digits>+<base64>.');
  }
  const [type, raw] = [bytes[0], bytes.slice(1)];
  if (type !== 1 && type !== 4) throw new Malformed(`The key of ${name} has the signature type ${type}, not 1 or 4.`);
  const hash = await sha256(concat(utf8(`${name}\n`), bytes));
  if (raw.length !== 32 || hex(hash.slice(0, 4)) !== id) throw new Malformed(`The key of ${name} is damaged.`);
  const key = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify']);
  const verify: Key['verify'] = (signature, message) => crypto.subtle.verify('Ed25519', key, signature, message);
  return { name, id, isWitness: type === 4, raw: hex(raw), verify };
}

/** One key under two names would be counted as two parties. */
function refuseTwice(keys: readonly Key[]): void {
  if (new Set(keys.map((key) => `${key.isWitness}${key.raw}`)).size < keys.length)
    throw new Malformed('A key is given twice.');
}

/** Names share one space; each is a witness or a group, and each can be in one group only. */
interface Policy {
  readonly logs: Key[];
  readonly witnesses: Map<string, Key>;
  readonly rules: Map<string, (cosigned: ReadonlySet<string>) => boolean>;
  readonly members: Set<string>;
  quorum?: Trust['isQuorum'];
}

const policyCharsMax = 256 * 1024;

async function parsePolicy(text: string): Promise<Trust> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the format allows tab and newline only.
  if (text.length > policyCharsMax || /[\x00-\x08\x0b-\x1f\x7f]/.test(text))
    throw new Malformed('The policy is no text.');
  const policy: Policy = { logs: [], witnesses: new Map(), rules: new Map(), members: new Set() };
  for (const line of text.split('\n')) {
    const words = line.split(/[ \t]+/).filter((word) => word !== '');
    if (words[0] !== undefined && !words[0].startsWith('#')) await addLine(policy, words);
  }
  refuseTwice(policy.logs);
  refuseTwice([...policy.witnesses.values()]);
  if (policy.quorum === undefined) throw new Malformed('The policy has no quorum line.');
  if (policy.logs.length === 0) throw new Malformed('The policy has no log.');
  return { logs: policy.logs, witnesses: policy.witnesses, isQuorum: policy.quorum };
}

async function addLine(policy: Policy, words: readonly string[]): Promise<void> {
  const [kind, first = '', second = '', ...more] = words;
  if (kind === 'log' && words.length >= 2 && words.length <= 3) policy.logs.push(await keyFor(first, false));
  else if (kind === 'witness' && words.length >= 3 && words.length <= 4) {
    define(policy, first, (cosigned) => cosigned.has(first));
    policy.witnesses.set(first, await keyFor(second, true));
  } else if (kind === 'group' && more.length > 0) addGroup(policy, first, second, more);
  else if (kind === 'quorum' && words.length === 2 && policy.quorum === undefined)
    policy.quorum = ruleOf(policy, first);
  else throw new Malformed(`A line of the policy cannot be read: ${words.join(' ').slice(0, 60)}`);
}

async function keyFor(text: string, isWitness: boolean): Promise<Key> {
  const key = await parseKey(text);
  if (key.isWitness !== isWitness) throw new Malformed(`The key of ${key.name} is not of the type for its line.`);
  return key;
}

function define(policy: Policy, name: string, rule: Trust['isQuorum']): void {
  if (name === 'none' || policy.rules.has(name)) throw new Malformed(`The policy cannot define ${name} here.`);
  policy.rules.set(name, rule);
}

function addGroup(policy: Policy, name: string, threshold: string, members: readonly string[]): void {
  const needed = threshold === 'any' ? 1 : threshold === 'all' ? members.length : Number(threshold);
  if (!/^(?:any|all|[1-9][0-9]*)$/.test(threshold) || needed > members.length) {
    throw new Malformed(`The group ${name} of the policy cannot have the threshold ${threshold}.`);
  }
  for (const member of members) {
    if (member === 'none' || policy.members.has(member)) throw new Malformed(`${member} cannot be a member here.`);
    policy.members.add(member);
  }
  const rules = members.map((member) => ruleOf(policy, member));
  define(policy, name, (cosigned) => rules.filter((rule) => rule(cosigned)).length >= needed);
}

function ruleOf(policy: Policy, name: string): Trust['isQuorum'] {
  const rule = name === 'none' ? () => true : policy.rules.get(name);
  if (rule === undefined) throw new Malformed(`The policy uses ${name} before it defines it.`);
  return rule;
}
