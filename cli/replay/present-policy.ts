/** The policy of a running gateway as it is now: its roles, its API keys, and what is revoked. */
import { isJsonObject, type JsonObject } from '../../src/core/json.ts';
import type { Authority } from '../../src/policy/authority.ts';
import type { ReplayPolicy } from '../../src/policy/replay.ts';
import { fetchPatiently } from '../patient-fetch.ts';
import { UsageError } from '../usage-error.ts';
import { policyIn } from './policy-document.ts';

type PresentPolicy = Pick<ReplayPolicy, 'roles' | 'apiKeys' | 'policies' | 'isRevoked'>;

const attemptsMax = 6;
const keysPage = 100;

/** Throws a `UsageError` when the gateway does not show it. */
export async function readPresentPolicy(url: string, token: string | undefined): Promise<PresentPolicy> {
  const get = (path: string) => ask(new URL(path, url), token);
  const { rbac } = await get('/admin/v1/config:export');
  const api_keys = await allKeys(get);
  const { policies } = await get('/admin/v1/mcp/policies');
  const policy = policyIn({ rbac, api_keys, policies }, 'What the gateway answers');
  const revoked = await allRevoked(get);
  const isRevoked = ({ capability }: Authority) =>
    capability.links.some(
      ({ hash, id }) => revoked.has(`hash ${hash}`) || (id !== undefined && revoked.has(`id ${id}`)),
    );
  return { ...policy, isRevoked };
}

type Get = (path: string) => Promise<JsonObject>;

async function allKeys(get: Get): Promise<JsonObject[]> {
  const keys: JsonObject[] = [];
  for (;;) {
    const { items, total } = await get(`/admin/v1/api-keys?limit=${keysPage}&offset=${keys.length}`);
    const page = (Array.isArray(items) ? items : []).filter(isJsonObject);
    keys.push(...page);
    if (page.length === 0 || keys.length >= Number(total)) return keys;
  }
}

async function allRevoked(get: Get): Promise<ReadonlySet<string>> {
  const revoked = new Set<string>();
  for (let before = ''; ; ) {
    const { revocations, next } = await get(`/admin/v1/capabilities/revocations${before}`);
    for (const each of (Array.isArray(revocations) ? revocations : []).filter(isJsonObject)) {
      revoked.add(`${String(each['kind'])} ${String(each['value'])}`);
    }
    if (next === null || next === undefined) return revoked;
    before = `?before=${String(next)}`;
  }
}

async function ask(url: URL, token: string | undefined): Promise<JsonObject> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetchPatiently(url, headers, attemptsMax);
  const body: unknown = await response?.json().catch(() => undefined);
  if (response?.ok === true && isJsonObject(body)) return body;
  if (response === undefined) throw new UsageError(`No gateway answers at ${url.origin}.`);
  throw new UsageError(
    `${url.origin}${url.pathname} answers ${response.status}: --present needs a credential for events.read, admin.config.read, admin.keys.read, admin.mcp.read and admin.capabilities.read.`,
  );
}
