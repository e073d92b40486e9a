/**
 * Says what is wrong with a tool's arguments, in words that an agent can act on. Names properties and quotes the
 * schema, never the arguments: their values may be secrets.
 */
import type { ErrorObject } from 'ajv';

const nameCharsMax = 100;
const allowedCharsMax = 200;

/** One sentence for one fault; none for what another fault says better. */
export function sentenceOf(error: ErrorObject): string | undefined {
  // Faults inside of a name are summed up by the fault of the name.
  if (error.propertyName !== undefined && error.keyword !== 'propertyNames') return undefined;
  const path = pathOf(error.instancePath);
  const { params } = error;
  switch (error.keyword) {
    case 'required':
    case 'dependentRequired':
    case 'dependencies':
      return `required property '${inside(path, params['missingProperty'])}' missing`;
    case 'additionalProperties':
      return `unknown property '${inside(path, params['additionalProperty'])}'`;
    case 'unevaluatedProperties':
      return `unknown property '${inside(path, params['unevaluatedProperty'])}'`;
    case 'propertyNames':
      return `property name '${inside(path, params['propertyName'])}' is not allowed`;
    case 'enum':
      return `${subject(path)} must be one of ${allowed(params['allowedValues'])}`;
    case 'type':
      return `${subject(path)} must be ${[params['type']].flat().join(' or ')}`;
    default:
      return `${subject(path)} ${error.message ?? 'is not valid'}`;
  }
}

function subject(path: readonly string[]): string {
  return path.length === 0 ? 'the input' : `property '${shown(path.join('.'))}'`;
}

function inside(path: readonly string[], name: unknown): string {
  return shown([...path, String(name)].join('.'));
}

function shown(name: string): string {
  return name.length > nameCharsMax ? `${name.slice(0, nameCharsMax)}…` : name;
}

function allowed(values: unknown): string {
  const text = Array.isArray(values) ? values.map((value) => JSON.stringify(value)).join(', ') : '';
  return text === '' || text.length > allowedCharsMax ? 'the allowed values' : text;
}

/** The segments of a JSON pointer (RFC 6901). */
function pathOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}
