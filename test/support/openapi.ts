/** Answers of the gateway, judged by the document that describes it. */
import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: object }>> }>
  >;
}

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const name = 'openapi';
const document = JSON.parse(readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')) as OpenApi;
const ajv = addFormats.default(new Ajv2020({ strict: false, allErrors: true, validateSchema: false }));
ajv.addSchema(document, name);

const operations = new Map(
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [operation.operationId, { path, method, operation }] as const),
  ),
);

function validatorOf(surfaceId: string, status: number): ValidateFunction | undefined {
  const { path = '', method = '', operation } = operations.get(surfaceId) ?? {};
  if (operation?.responses[status]?.content?.['application/json']?.schema === undefined) return undefined;
  const pointer = ['paths', path, method, 'responses', String(status), 'content', 'application/json', 'schema'];
  return ajv.getSchema(`${name}#/${pointer.map(escaped).join('/')}`);
}

/** RFC 6901, in the fragment of a URI. */
function escaped(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));
}

/** What of a JSON answer is not as the document says; empty when all is. */
export function answerFaults(surfaceId: string, status: number, body: unknown): string[] {
  const isDescribed = validatorOf(surfaceId, status);
  if (isDescribed === undefined) return [`the document says nothing of ${status} of ${surfaceId}`];
  return isDescribed(body) ? [] : (isDescribed.errors ?? []).map((fault) => `${fault.instancePath} ${fault.message}`);
}
