/** `GET /api/events/records`: the records themselves, byte for byte as they were hashed, for exports and copies. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { StoredEvent } from '../../../gateway/read-events.ts';
import { askerOf, authenticated } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { filterMembers, filterOf, type ReadRouteDeps } from './read.ts';

const seqMax = Number.MAX_SAFE_INTEGER;
const Seq = Type.Integer({ minimum: 0, maximum: seqMax });

const RecordsQuery = Type.Object({
  from_seq: Type.Optional(Seq),
  to_seq: Type.Optional(Type.Integer({ minimum: 0, maximum: seqMax, description: 'Exclusive.' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: bounds.recordsPageMax })),
  ...filterMembers,
});

export function recordRoutes(app: App, { authenticate, readEvents, factsOf }: ReadRouteDeps): void {
  app.get(
    '/api/events/records',
    {
      config: { surface: 'events.records' },
      schema: {
        tags: ['Events'],
        summary: 'Records of the log, oldest first, as lines of `talos.export/v1`',
        description:
          'NDJSON. Ask again with `from_seq` one more than the last `leaf_index`, until there are no more lines: a page ends early when its records are large.',
        querystring: RecordsQuery,
        response: { 200: Type.Unsafe<Buffer>({ type: 'string' }) },
      },
      onRequest: authenticated(authenticate, 'open'),
    },
    async (request, reply) => {
      const { from_seq: firstSeq = 0, to_seq: endSeq, limit = bounds.recordsPageMax } = request.query;
      const events = await readEvents.records({
        ...askerOf(request, factsOf),
        filter: filterOf(request.query),
        firstSeq,
        limit,
        ...(endSeq === undefined ? {} : { endSeq }),
      });
      return reply.type('application/x-ndjson').send(Buffer.from(events.map(lineOf).join('')));
    },
  );
}

// Details and record are canonical, and so is the line that is put together from them.
function lineOf({ seq, canon, details }: StoredEvent): string {
  return `{${details === null ? '' : `"details":${details},`}"leaf_index":${seq},"record":${canon}}\n`;
}
