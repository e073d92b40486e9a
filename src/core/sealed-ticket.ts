/**
 * Something put away under a ticket: whoever holds the ticket finds it and opens it, and whoever holds what was put away
 * can do neither. The ticket is random, so its hash is a name for it, and it is a key.
 */
import { hkdfSync, randomBytes } from 'node:crypto';
import { aeadKeyBytes, aeadNonceBytes, aeadTagBytes, seal, unseal } from './aead.ts';
import { encodeBase64url } from './base64url.ts';
import { sha256Hex } from './hash.ts';

const ticketBytes = 32;

export interface SealedTicket {
  /** 43 characters of base64url. */
  readonly ticket: string;
  /** hex sha256 that it is found by. */
  readonly hash: string;
  readonly sealed: Buffer;
}

export function sealTicket(text: string): SealedTicket {
  const ticket = encodeBase64url(randomBytes(ticketBytes));
  return { ticket, hash: ticketHash(ticket), sealed: sealUnder(ticket, text) };
}

/** Seals under a ticket that is there already; it must be random. */
export function sealUnder(ticket: string, text: string): Buffer {
  const { nonce, tag, ciphertext } = seal(keyOf(ticket), randomBytes(aeadNonceBytes), Buffer.from(text));
  return Buffer.concat([nonce, tag, ciphertext]);
}

/** Throws when `sealed` is not what was put away under this ticket. */
export function openTicket(ticket: string, sealed: Buffer): string {
  const nonce = sealed.subarray(0, aeadNonceBytes);
  const tag = sealed.subarray(aeadNonceBytes, aeadNonceBytes + aeadTagBytes);
  const ciphertext = sealed.subarray(aeadNonceBytes + aeadTagBytes);
  return unseal(keyOf(ticket), { nonce, ciphertext, tag }).toString('utf8');
}

export function ticketHash(ticket: string): string {
  return sha256Hex(`talos-ticket:${ticket}`);
}

function keyOf(ticket: string): Buffer {
  return Buffer.from(hkdfSync('sha256', ticket, '', 'talos-ticket-key', aeadKeyBytes));
}
