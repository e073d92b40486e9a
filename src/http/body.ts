/** Bodies: JSON that two readers cannot understand differently, NDJSON for batches, and nothing else. */
import type { FastifyRequest } from 'fastify';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import { parseJsonBytesStrict, type ValueCount } from '../core/strict-json.ts';
import type { App } from './fastify.ts';

export function addBodyParsers(app: App): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    // A missing body is for the route's schema to refuse, by naming what it lacks.
    if (body.length === 0) return undefined;
    return parseJsonBytesStrict(body, { depthMax: bounds.jsonDepthMax, values: valueCountFor(request) });
  });
  app.addContentTypeParser(
    ['application/x-ndjson', 'application/ndjson', 'application/jsonl'],
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => parseLines(body, valueCountFor(request)),
  );
}

/** What parses a body holds up everything else, and takes longer for many values than for many bytes. */
function valueCountFor({ routeOptions }: FastifyRequest): ValueCount {
  const takesBatches = (routeOptions.bodyLimit ?? 0) > bounds.bodyBytesMax;
  return { max: takesBatches ? bounds.batchBodyValuesMax : bounds.bodyValuesMax, used: 0 };
}

function parseLines(body: Buffer, count: ValueCount): unknown[] {
  const values: unknown[] = [];
  let lineNumber = 0;
  for (let start = 0; start < body.length; ) {
    const newline = body.indexOf(0x0a, start);
    const end = newline === -1 ? body.length : newline;
    const line = body.subarray(start, end);
    lineNumber++;
    if (!isBlank(line)) values.push(parseLine(line, lineNumber, count));
    // One more than is accepted is enough for the schema to refuse them all.
    if (values.length > bounds.batchEventsMax) break;
    if (lineNumber > bounds.batchLinesMax)
      throw new TalosError('INVALID_JSON', { message: 'There are too many lines.' });
    start = end + 1;
  }
  return values;
}

function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

function parseLine(line: Buffer, lineNumber: number, values: ValueCount): unknown {
  try {
    return parseJsonBytesStrict(line, { depthMax: bounds.jsonDepthMax, values });
  } catch (error) {
    if (!(error instanceof TalosError && error.code === 'INVALID_JSON')) throw error;
    throw new TalosError('INVALID_JSON', { message: `Line ${lineNumber}: ${error.message}` });
  }
}
