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

// What is nobody's, one's own, or somebody's network (IANA special-purpose registries), and IPv6 that hides IPv4.
const notPublic = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  notPublic.addSubnet(network, bits, 'ipv4');
}
for (const [network, bits] of [
  ['::', 96],
  ['::ffff:0:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
  ['5f00::', 16],
  ['fc00::', 7],
  ['fec0::', 10],
  ['ff00::', 8],
] as const) {
  notPublic.addSubnet(network, bits, 'ipv6');
}

class ForbiddenAddress extends Error {
  override readonly name = 'ForbiddenAddress';
  constructor(sentence = 'link-local and metadata addresses are never dialled') {
    super(sentence);
  }
}

/** Whether `address` (an IP address, not a name) must not be dialled. IPv4 inside IPv6 is seen through. */
export function isForbiddenAddress(address: string): boolean {
  const plain = address.split('%', 1)[0] ?? address;
  return forbidden.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
}

/** Whether `address` (an IP address, not a name) is one of the public internet. IPv4 inside IPv6 is seen through. */
export function isPublicAddress(address: string): boolean {
  const plain = address.split('%', 1)[0] ?? address;
  return !isForbiddenAddress(plain) && !notPublic.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
}

/** Why the address may not be dialled, or undefined. */
function refusalOf(address: string, publicOnly: boolean): ForbiddenAddress | undefined {
  if (isForbiddenAddress(address)) return new ForbiddenAddress();
  if (!publicOnly || isPublicAddress(address)) return undefined;
  return new ForbiddenAddress('private and loopback addresses are dialled only for servers with allow_private');
}

export interface ConnectorOptions {
  readonly timeoutMs: number;
  /** Also refuses private and loopback addresses. */
  readonly publicOnly?: boolean;
}

/** A connector for one server's pool. */
export function createConnector(options: ConnectorOptions): buildConnector.connector {
  const { publicOnly = false } = options;
  // Typed as the socket options, of which undici's union declares `lookup` only in one branch.
  const settings = {
    timeout: options.timeoutMs,
    allowH2: false,
    lookup: safeLookup(publicOnly),
  } as buildConnector.BuildOptions;
  const connect = buildConnector(settings);
  return (target, callback) => {
    const host = target.hostname.replace(/^\[|\]$/g, '');
    // A literal address is not looked up, so it is judged here.
    const refusal = isIP(host) === 0 ? undefined : refusalOf(host, publicOnly);
    if (refusal !== undefined) queueMicrotask(() => callback(refusal, null));
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
function safeLookup(publicOnly: boolean): Lookup {
  const running = new Map<string, Promise<LookupAddress[]>>();
  return (hostname, options, callback) => {
    const addresses = running.get(hostname) ?? resolve(hostname, publicOnly).finally(() => running.delete(hostname));
    running.set(hostname, addresses);
    addresses.then(
      (found) => answer(found, options, callback),
      (error) => callback(error, []),
    );
  };
}

function resolve(hostname: string, publicOnly: boolean): Promise<LookupAddress[]> {
  return new Promise((resolved, rejected) => {
    lookup(hostname, { all: true }, (error, addresses) => {
      if (error) return rejected(error);
      const refusals = addresses.map(({ address }) => refusalOf(address, publicOnly));
      const allowed = addresses.filter((_, at) => refusals[at] === undefined);
      if (allowed.length === 0) rejected(refusals[0] ?? new ForbiddenAddress());
      else resolved(allowed);
    });
  });
}

function answer(found: LookupAddress[], options: LookupOptions, callback: Parameters<Lookup>[2]): void {
  const [first] = found;
  if (options.all) callback(null, found);
  else callback(null, first?.address ?? '', first?.family);
}
