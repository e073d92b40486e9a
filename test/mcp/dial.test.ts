import dns, { type LookupAddress } from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { isForbiddenAddress, isPublicAddress } from '../../src/mcp/network/dial.ts';
import { call, failureOf, serverOf, textOf } from '../support/mcp-registry.ts';
import { mcpScript, startScripted } from '../support/mcp-scripted.ts';

const lookup = vi.spyOn(dns, 'lookup');
syncBuiltinESMExports();

afterEach(() => void lookup.mockReset());
afterAll(() => {
  lookup.mockRestore();
  syncBuiltinESMExports();
});

type Found = (error: Error | null, addresses: LookupAddress[]) => void;

/** The system's resolver, for one name. */
function resolveTo(addresses: readonly string[]): void {
  const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  lookup.mockImplementation(((_name: string, _options: unknown, done: Found) =>
    setImmediate(done, null, found)) as never);
}

describe('isForbiddenAddress', () => {
  it.each([
    '169.254.0.0',
    '169.254.169.254',
    '169.254.255.255',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
    'fe80::1',
    'fe80::1%eth0',
    'febf:ffff::1',
    'fd00:ec2::254',
    'fd20:ce::254',
    '100.100.100.200',
    '192.0.0.192',
  ])('forbids %s', (address) => {
    expect(isForbiddenAddress(address)).toBe(true);
  });

  it.each([
    '127.0.0.1',
    '::1',
    '10.0.0.1',
    '192.168.1.1',
    '172.16.0.1',
    '169.253.255.255',
    '169.255.0.0',
    'fd00::1',
    'fec0::1',
    '8.8.8.8',
    '2001:db8::1',
  ])('allows %s', (address) => {
    expect(isForbiddenAddress(address)).toBe(false);
  });
});

describe('isPublicAddress', () => {
  it.each([
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.169.254',
    '172.31.255.255',
    '192.168.0.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    '2001::1',
    '2002:7f00:1::',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
  ])('is false of %s', (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  it.each(['8.8.8.8', '172.32.0.1', '100.128.0.1', '192.169.0.1', '2606:4700::1111', '::ffff:8.8.8.8'])(
    'is true of %s',
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );
});

describe('a server that may have public addresses alone', () => {
  it.each([[['127.0.0.1']], [['10.0.0.1', '::1']], [['fd00::1']], [['::ffff:192.168.0.1']]])(
    'is not dialled under a name that means %j',
    async (addresses) => {
      resolveTo(addresses);
      const { server } = serverOf({ transport: 'jsonrpc', url: 'http://innocent.example/', publicOnly: true });
      const error = await failureOf(call(server, 'any'));
      expect(error).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
      expect(error.cause).toMatchObject({
        name: 'ForbiddenAddress',
        message: expect.stringContaining('allow_private'),
      });
    },
  );

  it.each(['http://127.0.0.1:1/', 'http://[::1]:1/', 'http://2130706433/', 'http://[::ffff:127.0.0.1]/'])(
    'is not dialled as %s',
    async (url) => {
      const { server } = serverOf({ transport: 'jsonrpc', url, publicOnly: true });
      expect(await failureOf(call(server, 'any'))).toMatchObject({ cause: { name: 'ForbiddenAddress' } });
    },
  );
});

describe('dialling', () => {
  it.each([
    'http://169.254.169.254/latest/meta-data',
    'http://[fe80::1]/',
    'http://[fd00:ec2::254]/',
    'http://[::ffff:169.254.169.254]/',
    // The same address, spelled otherwise.
    'http://2852039166/',
    'http://0xa9fea9fe/',
    'http://0251.0376.0251.0376/',
    'https://169.254.169.254/',
  ])('does not happen for %s', async (url) => {
    const { server } = serverOf({ transport: 'jsonrpc', url });
    const error = await failureOf(call(server, 'any'));
    expect(error).toMatchObject({
      code: 'UPSTREAM_UNAVAILABLE',
      dispatched: false,
      cause: { name: 'ForbiddenAddress' },
    });
  });

  it.each([[['169.254.169.254']], [['fe80::1', '169.254.0.1']]])(
    'does not happen for a name that means %j',
    async (addresses) => {
      resolveTo(addresses);
      const { server } = serverOf({ transport: 'jsonrpc', url: 'http://innocent.example/' });
      const error = await failureOf(call(server, 'any'));
      expect(error).toMatchObject({
        code: 'UPSTREAM_UNAVAILABLE',
        dispatched: false,
        cause: { name: 'ForbiddenAddress' },
      });
    },
  );

  it('uses the other addresses of a name that also means a forbidden one', async () => {
    const { url } = await startScripted(mcpScript({ era: 'bare' }).respond);
    resolveTo(['169.254.169.254', '127.0.0.1']);
    const { server } = serverOf({ transport: 'jsonrpc', url: url.replace('127.0.0.1', 'mixed.example') });
    expect(textOf(await call(server, 'any'))).toBe('any');
  });

  it('looks a name up once at a time, however many calls wait for it', async () => {
    const { url } = await startScripted(mcpScript({ era: 'bare' }).respond);
    resolveTo(['127.0.0.1']);
    lookup.mockClear();
    const { server } = serverOf({ transport: 'jsonrpc', url: url.replace('127.0.0.1', 'busy.example') });
    await Promise.all(Array.from({ length: 20 }, () => call(server, 'any')));
    expect(lookup).toHaveBeenCalledTimes(1);
  });
});
