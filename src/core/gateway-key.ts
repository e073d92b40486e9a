/**
 * The key that the gateways of one database share, and nobody else has. Ids of sessions and states of authorization requests
 * carry a tag under it, so that one that no gateway made is known for what it is without asking anybody; and by it a gateway vouches for the client whose
 * request it passes on to another gateway.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { decodeBase64url, encodeBase64url } from './base64url.ts';

export const gatewayKeyBytes = 32;

const idBytes = 16;
const tagBytes = 16;

const sessionLabel = 'talos-mcp-session';
const stateLabel = 'talos-connection-state';

/** 43 characters of base64url: 128 random bits and their tag. */
export function mintSessionId(key: Buffer): string {
  return mint(key, sessionLabel);
}

/** Whether a gateway of this database made the id; says nothing of whether its session is open. */
export function isMintedSessionId(key: Buffer, id: string): boolean {
  return isMinted(key, sessionLabel, id);
}

/** Of an authorization request (RFC 6749, section 4.1.1), in the same form. */
export function mintState(key: Buffer): string {
  return mint(key, stateLabel);
}

/** Whether a gateway of this database made the state; says nothing of whether it is spent. */
export function isMintedState(key: Buffer, state: string): boolean {
  return isMinted(key, stateLabel, state);
}

function mint(key: Buffer, label: string): string {
  const random = randomBytes(idBytes);
  return encodeBase64url(Buffer.concat([random, idTag(key, label, random)]));
}

function isMinted(key: Buffer, label: string, id: string): boolean {
  const bytes = decodeBase64url(id);
  if (bytes?.length !== idBytes + tagBytes) return false;
  return timingSafeEqual(bytes.subarray(idBytes), idTag(key, label, bytes.subarray(0, idBytes)));
}

function idTag(key: Buffer, label: string, random: Buffer): Buffer {
  return tag(key, label, random).subarray(0, tagBytes);
}

/** The client of a request, as the gateway that it came to saw it. */
export interface Voucher {
  /** IP address of the client. */
  readonly address: string;
  /** Scheme and host that the client knows the gateway by. */
  readonly base: string;
}

/** The request that a voucher is good for. */
export interface VouchedRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly sessionId: string;
}

/** The voucher as a header, good for this request and for `skewMs` around `nowMs`. */
export function signVoucher(key: Buffer, voucher: Voucher, request: VouchedRequest, nowMs: number): string {
  const { address, base } = voucher;
  const text = encodeBase64url(Buffer.from(JSON.stringify([nowMs, address, base]), 'utf8'));
  return `${text}.${encodeBase64url(voucherTag(key, text, request))}`;
}

/** What the header says, when a gateway of this database signed it for this request just now. */
export function readVoucher(
  key: Buffer,
  header: string,
  request: VouchedRequest,
  { nowMs, skewMs }: { readonly nowMs: number; readonly skewMs: number },
): Voucher | undefined {
  const [text = '', signature = '', ...rest] = header.split('.');
  const given = decodeBase64url(signature);
  const wanted = voucherTag(key, text, request);
  if (rest.length > 0 || given?.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
  const [signedMs, address, base] = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
  return Math.abs(nowMs - signedMs) > skewMs ? undefined : { address, base };
}

function voucherTag(key: Buffer, text: string, { method, target, sessionId }: VouchedRequest): Buffer {
  return tag(key, 'talos-forwarded', JSON.stringify([text, method, target, sessionId]));
}

/** Each use of the key has a label of its own, so that nothing made for one passes for another. */
function tag(key: Buffer, label: string, data: string | Buffer): Buffer {
  return createHmac('sha256', key).update(`${label}\n`).update(data).digest();
}
