/**
 * Something put away under a ticket: whoever holds the ticket finds it and opens it, and whoever holds what was put away
 * can do neither. The ticket is random, so its hash is a name for it, and it is a key.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { encodeBase64url } from './base64url.ts';
import { sha256Hex } from './hash.ts';

const ticketBytes = 32;
const ivBytes = 12;
const tagBytes = 16;
const cipherName = 'aes-256-gcm';

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
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv(cipherName, keyOf(ticket), iv);
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), body]);
}

/** Throws when `sealed` is not what was put away under this ticket. */
export function openTicket(ticket: string, sealed: Buffer): string {
  const decipher = createDecipheriv(cipherName, keyOf(ticket), sealed.subarray(0, ivBytes));
  decipher.setAuthTag(sealed.subarray(ivBytes, ivBytes + tagBytes));
  return Buffer.concat([decipher.update(sealed.subarray(ivBytes + tagBytes)), decipher.final()]).toString('utf8');
}

export function ticketHash(ticket: string): string {
  return sha256Hex(`talos-ticket:${ticket}`);
}

function keyOf(ticket: string): Buffer {
  return Buffer.from(hkdfSync('sha256', ticket, '', 'talos-ticket-key', 32));
}
