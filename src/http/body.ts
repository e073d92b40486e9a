/** Bodies: JSON that two readers cannot understand differently, NDJSON for batches, and nothing else. */
import type { FastifyRequest } from 'fastify';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import { parseJsonBytesStrict } from '../core/strict-json.ts';
import type { App } from './fastify.ts';

export function addBodyParsers(app: App): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_: FastifyRequest, body: Buffer) => {
    // A missing body is for the route's schema to refuse, by naming what it lacks.
    return body.length === 0 ? undefined : parseJsonBytesStrict(body, { depthMax: bounds.jsonDepthMax });
  });
  app.addContentTypeParser(
    ['application/x-ndjson', 'application/ndjson', 'application/jsonl'],
    { parseAs: 'buffer' },
    async (_: FastifyRequest, body: Buffer) => parseLines(body),
  );
}

function parseLines(body: Buffer): unknown[] {
  const values: unknown[] = [];
  let lineNumber = 0;
  for (let start = 0; start < body.length; ) {
    const newline = body.indexOf(0x0a, start);
    const end = newline === -1 ? body.length : newline;
    const line = body.subarray(start, end);
    lineNumber++;
    if (!isBlank(line)) values.push(parseLine(line, lineNumber));
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

function parseLine(line: Buffer, lineNumber: number): unknown {
  try {
    return parseJsonBytesStrict(line, { depthMax: bounds.jsonDepthMax });
  } catch (error) {
    if (!(error instanceof TalosError)) throw error;
    throw new TalosError('INVALID_JSON', { message: `Line ${lineNumber}: ${error.message}` });
  }
}
