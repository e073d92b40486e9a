/**
 * Opens the connections to tool servers. Addresses are judged at the moment of dialling, after the name was resolved,
 * so a name that changes its mind cannot lead anywhere else: link-local and cloud metadata addresses are never dialled.
 */
import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { buildConnector } from 'undici';

const forbidden = new BlockList();
forbidden.addSubnet('169.254.0.0', 16, 'ipv4');
forbidden.addSubnet('fe80::', 10, 'ipv6');
// Metadata services outside of the link-local range: AWS, Google, Alibaba, Oracle.
forbidden.addAddress('fd00:ec2::254', 'ipv6');
forbidden.addAddress('fd20:ce::254', 'ipv6');
forbidden.addAddress('100.100.100.200', 'ipv4');
forbidden.addAddress('192.0.0.192', 'ipv4');
// The same through a NAT64 gateway (RFC 6052).
forbidden.addSubnet('64:ff9b::a9fe:0', 112, 'ipv6');
forbidden.addAddress('64:ff9b::6464:64c8', 'ipv6');

class ForbiddenAddress extends Error {
  override readonly name = 'ForbiddenAddress';
  constructor() {
    super('link-local and metadata addresses are never dialled');
  }
}

/** Whether `address` (an IP address, not a name) must not be dialled. IPv4 inside IPv6 is seen through. */
export function isForbiddenAddress(address: string): boolean {
  const plain = address.split('%', 1)[0] ?? address;
  return forbidden.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
}

/** A connector for one server's pool. */
export function createConnector(options: { readonly timeoutMs: number }): buildConnector.connector {
  // Typed as the socket options, of which undici's union declares `lookup` only in one branch.
  const settings = { timeout: options.timeoutMs, allowH2: false, lookup: safeLookup() } as buildConnector.BuildOptions;
  const connect = buildConnector(settings);
  return (target, callback) => {
    const host = target.hostname.replace(/^\[|\]$/g, '');
    // A literal address is not looked up, so it is judged here.
    if (isIP(host) !== 0 && isForbiddenAddress(host)) queueMicrotask(() => callback(new ForbiddenAddress(), null));
    else connect(target, callback);
  };
}

type Lookup = (
  hostname: string,
  options: LookupOptions,
  callback: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
) => void;

/**
 * The system's resolver minus forbidden addresses. One look-up a name at a time: it occupies a thread of the pool that
 * signatures are verified on, and a dead resolver must not occupy them all.
 */
function safeLookup(): Lookup {
  const running = new Map<string, Promise<LookupAddress[]>>();
  return (hostname, options, callback) => {
    const addresses = running.get(hostname) ?? resolve(hostname).finally(() => running.delete(hostname));
    running.set(hostname, addresses);
    addresses.then(
      (found) => answer(found, options, callback),
      (error) => callback(error, []),
    );
  };
}

function resolve(hostname: string): Promise<LookupAddress[]> {
  return new Promise((resolved, rejected) => {
    lookup(hostname, { all: true }, (error, addresses) => {
      const allowed = addresses?.filter(({ address }) => !isForbiddenAddress(address)) ?? [];
      if (error) rejected(error);
      else if (allowed.length === 0) rejected(new ForbiddenAddress());
      else resolved(allowed);
    });
  });
}

function answer(found: LookupAddress[], options: LookupOptions, callback: Parameters<Lookup>[2]): void {
  const [first] = found;
  if (options.all) callback(null, found);
  else callback(null, first?.address ?? '', first?.family);
}
