import { expect, it } from 'vitest';
import { openTicket, sealTicket, sealUnder, ticketHash } from '../../src/core/sealed-ticket.ts';

// Nonce, tag and ciphertext, as they stand in databases since the first release.
const kept = {
  ticket: 'qHVf8Bx2knJoj7mNPYTa9AwwLWkM6rk6vGP_Jfu4K_g',
  hash: '42a9f236159710fbfa68b8192fed2fdad904a0d92378c15d39616346845c7238',
  sealed: Buffer.from('8I8avv1bJTGgphgh8xlDngoPx6zxGrAivXuoQUk5cXZR_XqIRjQIYw', 'base64url'),
};

it('opens what was put away before', () => {
  expect(openTicket(kept.ticket, kept.sealed)).toBe('Bearer grün');
  expect(ticketHash(kept.ticket)).toBe(kept.hash);
});

it('opens what it seals, under a new ticket each time', () => {
  const [one, other] = [sealTicket('text'), sealTicket('text')];
  expect(openTicket(one.ticket, one.sealed)).toBe('text');
  expect(other.ticket).not.toBe(one.ticket);
  expect(sealUnder(one.ticket, 'text')).not.toEqual(one.sealed);
});

it('opens nothing under another ticket', () => {
  expect(() => openTicket(sealTicket('').ticket, kept.sealed)).toThrow();
});

it.each([0, 12, 27])('opens nothing of which byte %d was changed', (at) => {
  const changed = Buffer.from(kept.sealed);
  changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
  expect(() => openTicket(kept.ticket, changed)).toThrow();
});

it.each([0, 11, 12, 24, 28])('opens nothing of which only %d bytes are left', (bytes) => {
  expect(() => openTicket(kept.ticket, kept.sealed.subarray(0, bytes))).toThrow();
});
