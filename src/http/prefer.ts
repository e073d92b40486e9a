/** `Prefer` (RFC 7240): what a client would like; a server may do without, and says when it did not. */
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Whether the request names the preference, whatever value or parameters it gives it. */
export function prefers({ headers }: FastifyRequest, preference: string): boolean {
  // A header that is sent twice arrives joined by commas.
  const names = String(headers['prefer'] ?? '')
    .split(',')
    .map((part) => part.split(/[;=]/, 1)[0]?.trim().toLowerCase());
  return names.includes(preference);
}

export function preferenceApplied(reply: FastifyReply, preference: string): void {
  reply.header('preference-applied', preference);
}

/** How many seconds the client waits (`wait=N`); undefined when it does not say. */
export function preferredWaitSec({ headers }: FastifyRequest): number | undefined {
  const [, seconds] = /(?:^|,)\s*wait\s*=\s*(\d{1,6})\s*(?:[,;]|$)/i.exec(String(headers['prefer'] ?? '')) ?? [];
  return seconds === undefined ? undefined : Number(seconds);
}
