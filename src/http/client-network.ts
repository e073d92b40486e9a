/** The network that counts as one client: an IPv4 address by itself, an IPv6 address with the 64 bits that its owner gets. */
import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';

/** The address of the client, though its request may have come by way of another gateway. */
export function clientAddressOf(request: FastifyRequest): string {
  return request.voucher?.address ?? request.ip;
}

/** As text that is the same for every spelling of the address; undefined when it is none. */
export function clientNetwork(address: string): string | undefined {
  const [plain = ''] = address.split('%', 1);
  const version = isIP(plain);
  if (version === 4) return plain;
  if (version === 0) return undefined;
  const groups = groupsOf(plain);
  const [a = 0, b = 0] = groups.slice(6);
  // IPv4-mapped, as a dual-stack listener sees IPv4 clients.
  if (isMapped(groups)) return [a >> 8, a & 255, b >> 8, b & 255].join('.');
  return `${groups.slice(0, 4).map(hex).join(':')}::/64`;
}

function isMapped(groups: readonly number[]): boolean {
  return groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
}

/** The eight groups of a valid IPv6 address. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const before = parts(head);
  if (tail === undefined) return before;
  const after = parts(tail);
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function parts(text: string): number[] {
  return text === ''
    ? []
    : text.split(':').flatMap((part) => (part.includes('.') ? dotted(part) : Number.parseInt(part, 16)));
}

function dotted(text: string): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number);
  return [(a << 8) | b, (c << 8) | d];
}

function hex(group: number): string {
  return group.toString(16);
}
