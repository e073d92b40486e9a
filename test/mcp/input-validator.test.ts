import { describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { mcpBounds } from '../../src/mcp/mcp-bounds.ts';
import { InputValidators } from '../../src/mcp/tools/input-validator.ts';
import { schemaHash } from '../../src/mcp/tools/tool-definition.ts';

const shared = new InputValidators(mcpBounds);

function faults(schema: JsonObject, input: unknown, validators = shared): string[] {
  return validators.validate(schema, schemaHash(schema), input);
}

function objectWith(properties: JsonObject, more: JsonObject = {}): JsonObject {
  return { type: 'object', properties, ...more };
}

describe('what it says of wrong arguments', () => {
  it.each<[string, JsonObject, JsonValue, string[]]>([
    ['a missing property', objectWith({}, { required: ['message'] }), {}, ["required property 'message' missing"]],
    ['a wrong type', objectWith({ count: { type: 'integer' } }), { count: 'x' }, ["property 'count' must be integer"]],
    ['two types', objectWith({ a: { type: ['string', 'null'] } }), { a: 1 }, ["property 'a' must be string or null"]],
    ['an unknown property', objectWith({}, { additionalProperties: false }), { x: 1 }, ["unknown property 'x'"]],
    ['an unevaluated one', objectWith({}, { unevaluatedProperties: false }), { x: 1 }, ["unknown property 'x'"]],
    ['a wrong root', { type: 'object' }, [], ['the input must be object']],
    ['an enumeration', objectWith({ a: { enum: ['b', 1] } }), { a: 'c' }, ['property \'a\' must be one of "b", 1']],
    ['a bound', objectWith({ a: { minimum: 3 } }), { a: 1 }, ["property 'a' must be >= 3"]],
    ['a pattern', objectWith({ a: { pattern: '^x' } }), { a: 'y' }, ['property \'a\' must match pattern "^x"']],
    [
      'a length',
      objectWith({ a: { maxLength: 1 } }),
      { a: 'xx' },
      ["property 'a' must NOT have more than 1 characters"],
    ],
    [
      'a property name',
      objectWith({}, { propertyNames: { maxLength: 1 } }),
      { ab: 1 },
      ["property name 'ab' is not allowed"],
    ],
    [
      'duplicates',
      objectWith({ a: { uniqueItems: true } }),
      {
        a: [
          { b: 1, c: 2 },
          { c: 2, b: 1 },
        ],
      },
      ["property 'a' must NOT have duplicate items"],
    ],
    [
      'a nested one',
      objectWith({ a: { type: 'array', items: objectWith({}, { required: ['b'] }) } }),
      { a: [{ b: 1 }, {}] },
      ["required property 'a.1.b' missing"],
    ],
    [
      'a name with a slash',
      objectWith({ 'a/b~c': { type: 'string' } }),
      { 'a/b~c': 1 },
      ["property 'a/b~c' must be string"],
    ],
    [
      'what every object inherits',
      objectWith({}, { required: ['constructor', 'toString'] }),
      {},
      ["required property 'constructor' missing", "required property 'toString' missing"],
    ],
    [
      'all at once',
      objectWith({ a: { type: 'string' } }, { required: ['b'] }),
      { a: 1 },
      ["required property 'b' missing", "property 'a' must be string"],
    ],
  ])('names %s', (_, schema, input, sentences) => {
    expect(faults(schema, input)).toEqual(sentences);
  });

  it.each<[string, JsonObject, JsonValue]>([
    [
      'right arguments',
      objectWith({ a: { type: 'string' } }, { required: ['a'], additionalProperties: false }),
      { a: 'x' },
    ],
    ['anything, for an empty schema', {}, { a: [1, { b: null }] }],
    ['distinct items', objectWith({ a: { uniqueItems: true } }), { a: [1, '1', [1], { a: 1 }] }],
    ['an unknown keyword', objectWith({ a: { 'x-mcp-header': 'A', nonsense: true } }), { a: 1 }],
    ['any format', objectWith({ a: { format: 'email' } }), { a: 'no address' }],
    ['internal references', objectWith({ a: { $ref: '#/$defs/a' } }, { $defs: { a: { type: 'string' } } }), { a: 'x' }],
    ['a recursive schema', objectWith({ next: { $ref: '#' } }), { next: { next: {} } }],
  ])('says nothing of %s', (_, schema, input) => {
    expect(faults(schema, input)).toEqual([]);
  });

  it('never quotes a value', () => {
    const secret = 'hunter2-hunter2';
    const schema = objectWith({
      a: { type: 'integer' },
      b: { enum: ['x'] },
      c: { const: 'y' },
      d: { pattern: '^z$' },
      e: { format: 'date', maxLength: 3 },
      f: { oneOf: [{ type: 'integer' }, { type: 'boolean' }] },
      g: { type: 'array', uniqueItems: true },
      h: { type: 'object', additionalProperties: { type: 'integer' } },
    });
    const input = {
      a: secret,
      b: secret,
      c: secret,
      d: secret,
      e: secret,
      f: secret,
      g: [secret, secret],
      h: { k: secret },
    };
    const said = faults(schema, input);
    expect(said.length).toBeGreaterThan(7);
    expect(said.join()).not.toContain('hunter');
  });

  it('changes nothing in the arguments', () => {
    const input = { a: '1' };
    faults(objectWith({ a: { type: 'integer', default: 7 }, b: { default: 8 } }), input);
    expect(input).toEqual({ a: '1' });
  });

  it('says ten things at most', () => {
    const schema = objectWith({}, { required: Array.from({ length: 50 }, (_, at) => `p${at}`) });
    expect(faults(schema, {})).toHaveLength(10);
  });

  it('cuts long names', () => {
    const [sentence] = faults(objectWith({}, { additionalProperties: false }), { ['x'.repeat(5_000)]: 1 });
    expect(sentence?.length).toBeLessThan(150);
  });

  it('says one thing only of a large input, and says it soon', () => {
    const started = performance.now();
    const schema = objectWith({ a: { type: 'array', items: { type: 'integer' } } });
    expect(faults(schema, { a: Array.from({ length: 200_000 }, () => 'x') })).toEqual([
      "property 'a.0' must be integer",
    ]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('tells apart large arrays of distinct objects soon', () => {
    const started = performance.now();
    const items = Array.from({ length: 30_000 }, (_, at) => ({ at }));
    expect(faults(objectWith({ a: { uniqueItems: true } }), { a: items })).toEqual([]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe('schemas that take for ever to check', () => {
  // Each part refers to the next one twice: a trillion steps.
  const steps = Array.from({ length: 40 }, (_, at): [string, JsonObject] => {
    const next = { $ref: `#/$defs/d${at + 1}` };
    return [`d${at}`, at === 39 ? {} : { allOf: [next, next] }];
  });
  const doubling = objectWith({ a: { $ref: '#/$defs/d0' } }, { $defs: Object.fromEntries(steps) });
  const names = Array.from({ length: 300 }, (_, at) => [`^k${at}x`, { type: 'string' }]);
  const manyPatterns = objectWith({ a: { patternProperties: Object.fromEntries(names) } });
  const manyItems = objectWith({ a: { items: { anyOf: names.map(([name]) => ({ required: [name as string] })) } } });
  const slowPattern = objectWith({ a: { items: { pattern: 'a*b|c' } } });

  it.each<[string, JsonObject, JsonValue]>([
    ['references that double', doubling, 1],
    [
      'many patterns for many names',
      manyPatterns,
      Object.fromEntries(Array.from({ length: 200_000 }, (_, at) => [`k${at}`, 1])),
    ],
    ['many alternatives for many items', manyItems, Array.from({ length: 200_000 }, () => ({ '^k299x': 1 }))],
    ['a pattern for many long texts', slowPattern, Array.from({ length: 600 }, () => `${'a'.repeat(3_000)}c`)],
  ])('lets nothing through that has %s, and says so soon', (_, schema, a) => {
    faults(schema, {});
    const started = performance.now();
    expect(faults(schema, { a })).toEqual(['checking the input against the schema of the tool takes too long']);
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(faults(schema, {})).toEqual([]);
    expect(shared.resultFault(schema, schemaHash(schema), { a })).toBe('unchecked');
  });

  it('lets nothing through a schema that takes long to compile, and says so soon', () => {
    const widest = Object.fromEntries(Array.from({ length: 1_200 }, (_, at) => [`^k${at}x`, { type: 'string' }]));
    const validators = new InputValidators({ ...mcpBounds, validatorCompileMsMax: 100 });
    const started = performance.now();
    expect(faults(objectWith({ a: { patternProperties: widest } }), {}, validators)).toEqual([
      "the tool's input schema cannot be used: it is too complicated, or refers to itself without end",
    ]);
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(faults(objectWith({ a: { type: 'string' } }), { a: 1 }, validators)).toEqual([
      "property 'a' must be string",
    ]);
  });

  it('still checks a small input against the same schema', () => {
    expect(faults(manyPatterns, { a: { k1x: 'text' } })).toEqual([]);
    expect(faults(manyPatterns, { a: { k1x: 7 } })).toEqual(["property 'a.k1x' must be string"]);
  });
});

describe('dialects', () => {
  const tuple2020 = objectWith({ a: { prefixItems: [{ type: 'string' }], items: false } });
  const tuple07 = objectWith({ a: { items: [{ type: 'string' }], additionalItems: false } });

  it('reads 2020-12 when the schema does not say, and when it does', () => {
    expect(faults(tuple2020, { a: ['x', 'y'] })).not.toEqual([]);
    expect(faults({ $schema: 'https://json-schema.org/draft/2020-12/schema', ...tuple2020 }, { a: [1] })).not.toEqual(
      [],
    );
  });

  it.each([
    'http://json-schema.org/draft-07/schema#',
    'http://json-schema.org/draft-06/schema',
    'https://json-schema.org/draft/2019-09/schema',
  ])('reads %s', ($schema) => {
    expect(faults({ $schema, ...tuple07 }, { a: ['x', 'y'] })).not.toEqual([]);
    expect(faults({ $schema, ...tuple07 }, { a: ['x'] })).toEqual([]);
  });

  it.each(['http://json-schema.org/draft-04/schema#', 'https://example.com/own', '', 7])('refuses %j', ($schema) => {
    expect(faults({ ...tuple07, $schema }, {})).toEqual([
      "the tool's input schema cannot be used: it is written in a dialect of JSON Schema that the gateway does not know",
    ]);
  });
});

describe('schemas that cannot be used', () => {
  const nested = (levels: number): JsonObject => (levels === 0 ? {} : { not: nested(levels - 1) });

  it.each<[string, JsonObject, string]>([
    [
      'a remote reference',
      objectWith({ a: { $ref: 'https://example.com/a.json' } }),
      'it refers to something outside of itself',
    ],
    ['a reference into nothing', objectWith({ a: { $ref: '#/$defs/a' } }), 'it refers to something outside of itself'],
    [
      'a reference to a file',
      objectWith({ a: { $ref: 'file:///etc/passwd' } }),
      'it refers to something outside of itself',
    ],
    ['an unknown type', { type: 'strng' }, 'it is not valid JSON Schema'],
    ['a keyword with a wrong value', { type: 'object', required: 'a' }, 'it is not valid JSON Schema'],
    ['a broken pattern', objectWith({ a: { pattern: '(' } }), 'it is not valid JSON Schema'],
    ['an asynchronous one', { $async: true, type: 'object' }, 'it is asynchronous'],
    [
      'one with an id inside',
      objectWith({ a: { $id: 'https://example.com/a', type: 'string' } }),
      'a part of it has an $id of its own',
    ],
    ['a deep one', nested(40), 'it is nested more than 32 levels deep'],
    ['a large one', { description: 'x'.repeat(300_000) }, 'it is larger than 262144 bytes'],
    ['an endless one', { $ref: '#' }, 'it refers to itself without end'],
    [
      'an endless pair',
      { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } },
      'it is too complicated, or refers to itself without end',
    ],
    [
      'one too wide for the compiler',
      objectWith(Object.fromEntries(Array.from({ length: 3_000 }, (_, at) => [`p${at}`, { type: 'string' }]))),
      'it is too complicated',
    ],
  ])('lets nothing through %s', (_, schema, reason) => {
    const [sentence, ...more] = faults(schema, {});
    expect(sentence).toContain(`the tool's input schema cannot be used: ${reason}`);
    expect(more).toEqual([]);
  });

  it('keeps schemas with the same id apart', () => {
    const $id = 'https://example.com/same';
    expect(faults({ $id, ...objectWith({}, { required: ['a'] }) }, { b: 1 })).toEqual([
      "required property 'a' missing",
    ]);
    expect(faults({ $id, ...objectWith({}, { required: ['b'] }) }, { b: 1 })).toEqual([]);
  });

  it('does not let a schema pretend to be a meta-schema, or reach another one by its id', () => {
    expect(faults({ $id: 'https://json-schema.org/draft/2020-12/schema', type: 'object' }, {})).toEqual([]);
    expect(faults({ type: 'strng' }, {})).not.toEqual([]);
    expect(faults(objectWith({ a: { $ref: 'https://example.com/same' } }), {})).not.toEqual([]);
  });

  it('does not copy what is referred to often', () => {
    const large = { enum: Array.from({ length: 5_000 }, (_, at) => `value ${at}`) };
    const properties = Object.fromEntries(
      Array.from({ length: 200 }, (_, at) => [`p${at}`, { $ref: '#/$defs/large' }]),
    );
    const started = performance.now();
    expect(faults(objectWith(properties, { $defs: { large } }), { p1: 'value 1' })).toEqual([]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe('the cache', () => {
  it('is bounded, and works on when it is full', () => {
    const validators = new InputValidators({ ...mcpBounds, validatorCacheEntriesMax: 2 });
    const schemas = ['a', 'b', 'c', 'a'].map((name) => objectWith({}, { required: [name] }));
    for (const schema of schemas)
      expect(faults(schema, {}, validators)).toEqual([`required property '${schema['required']}' missing`]);
  });
});

describe('structured results', () => {
  const resultFault = (schema: JsonObject, result: JsonValue, validators = shared) =>
    validators.resultFault(schema, schemaHash(schema), result);
  const numbered = objectWith({ n: { type: 'number' } }, { required: ['n'] });

  it.each<[string, JsonObject, JsonValue, 'mismatch' | 'unchecked' | undefined]>([
    ['are right', numbered, { n: 1 }, undefined],
    ['lack something', numbered, {}, 'mismatch'],
    ['are of another type', numbered, { n: '1' }, 'mismatch'],
    ['are no object', numbered, [], 'mismatch'],
    ['have a schema that refers to somewhere', { $ref: 'https://elsewhere.example/' }, {}, 'unchecked'],
    ['have a schema that refers to itself', { $ref: '#' }, {}, 'unchecked'],
    ['have a schema of an unknown dialect', { $schema: 'https://elsewhere.example/' }, {}, 'unchecked'],
  ])('%s', (_, schema, result, fault) => {
    expect(resultFault(schema, result)).toBe(fault);
  });
});
