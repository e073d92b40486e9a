/** The address of a client in the records: a keyed hash of it or nothing, and never what a stranger claims. */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { recordOf, startTestGateway, type TestGateway } from '../support/gateway.ts';

const key = 'a key for addresses that is long enough';
const hashOf = (address: string) => createHmac('sha256', key).update(address).digest('hex');

let plain: TestGateway;
let keyed: TestGateway;
let proxied: TestGateway;

beforeAll(async () => {
  const env = { AUDIT_IP_HMAC_KEY: key, AUDIT_IP_HMAC_KEY_ID: 'k-1' };
  [plain, keyed, proxied] = await Promise.all([
    startTestGateway(),
    startTestGateway({ env }),
    startTestGateway({ env: { ...env, TALOS_TRUSTED_PROXIES: '127.0.0.1,10.0.0.0/8' } }),
  ]);
});

afterAll(async () => {
  await Promise.all([plain, keyed, proxied].map((gateway) => gateway.stop()));
});

async function httpOf(gateway: TestGateway, headers: Record<string, string> = {}): Promise<JsonObject> {
  const answer = await gateway.send('/api/events', { json: { event_type: 'a', actor: 'b', action: 'c' }, headers });
  return (await recordOf(gateway, answer)).record['http'] as JsonObject;
}

const base = { method: 'POST', path: '/api/events', status_code: 200 };
const hashed = (address: string) => ({
  ...base,
  client_ip_hash: hashOf(address),
  client_ip_hash_alg: 'HMAC-SHA256',
  client_ip_hash_key_id: 'k-1',
});

describe('the address of a client', () => {
  it('is not recorded without a key', async () => {
    expect(await httpOf(plain, { 'x-forwarded-for': '203.0.113.7' })).toEqual(base);
  });

  it('is recorded as a hash with one', async () => {
    expect(await httpOf(keyed)).toEqual(hashed('127.0.0.1'));
  });

  it.each(['203.0.113.7', '10.1.2.3', 'unknown', '127.0.0.1, 203.0.113.7', ''])(
    'is not what a stranger says: %j',
    async (claim) => {
      const headers = { 'x-forwarded-for': claim, forwarded: `for=${claim}`, 'x-real-ip': claim };
      expect(await httpOf(keyed, headers)).toEqual(hashed('127.0.0.1'));
    },
  );

  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['198.51.100.1, 203.0.113.7', '203.0.113.7'],
    ['203.0.113.7, 10.1.2.3', '203.0.113.7'],
    ['198.51.100.1, 203.0.113.7, 10.1.2.3', '203.0.113.7'],
    ['2001:DB8::1', '2001:db8::1'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
  ])('is what a trusted proxy says, up to the first that is none: %s', async (claim, address) => {
    expect(await httpOf(proxied, { 'x-forwarded-for': claim })).toEqual(hashed(address));
  });

  it('is nowhere in the log of the process', async () => {
    await httpOf(proxied, { 'x-forwarded-for': '203.0.113.99' });
    expect(proxied.logText()).not.toContain('203.0.113.99');
  });
});
