/**
 * The body of an attested request, read before the handlers see it: who the caller is depends on it. Afterwards it is
 * parsed like any other, from the very bytes that were verified.
 */
import { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import type { App } from './fastify.ts';

const bodies = new WeakMap<FastifyRequest, Buffer>();

/** To be called before routes are registered. */
export function replayBodies(app: App): void {
  app.addHook('preParsing', async (request, _reply, payload) => {
    const body = bodies.get(request);
    if (body === undefined) return payload;
    return Object.assign(Readable.from(body.length === 0 ? [] : [body]), { receivedEncodedLength: body.length });
  });
}

/**
 * All bytes of the body, no more than the route accepts and no more than 1 MiB. Throws `PAYLOAD_TOO_LARGE`, or
 * `UNSUPPORTED_MEDIA_TYPE` for what is not JSON, which alone has a canonical form to sign.
 */
export async function readAttestedBody(request: FastifyRequest): Promise<Buffer> {
  const known = bodies.get(request);
  if (known !== undefined) return known;
  const body = Buffer.concat(await chunksOf(request));
  if (body.length > 0 && !isJson(request)) throw new TalosError('UNSUPPORTED_MEDIA_TYPE');
  bodies.set(request, body);
  return body;
}

async function chunksOf({ raw, headers, routeOptions }: FastifyRequest): Promise<Buffer[]> {
  const bytesMax = Math.min(routeOptions.bodyLimit ?? bounds.bodyBytesMax, bounds.bodyBytesMax);
  if (Number(headers['content-length'] ?? 0) > bytesMax) throw new TalosError('PAYLOAD_TOO_LARGE');
  const chunks: Buffer[] = [];
  let bytes = 0;
  // The connection is left to whoever answers.
  for await (const chunk of wholly(raw.iterator({ destroyOnReturn: false }))) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new TalosError('PAYLOAD_TOO_LARGE');
    chunks.push(chunk);
  }
  return chunks;
}

async function* wholly(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (error) {
    throw new TalosError('INVALID_REQUEST', { message: 'The body did not arrive whole.', cause: error });
  }
}

function isJson({ headers }: FastifyRequest): boolean {
  return headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() === 'application/json';
}
