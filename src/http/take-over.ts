/** An answer that is written past Fastify, such as a stream. */
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';

/** From here on the answer is the caller's to write and to end; headers that were set before go along. */
export function takeOver(reply: FastifyReply): ServerResponse {
  reply.hijack();
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) reply.raw.setHeader(name, value);
  }
  return reply.raw;
}
