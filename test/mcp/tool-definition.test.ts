import { expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { definitionHash, schemaHash } from '../../src/mcp/tools/tool-definition.ts';
import { describeVectors, vector } from '../support/vectors.ts';

interface SchemaVector {
  readonly expected: { readonly json_schema: JsonObject; readonly schema_hash: string };
}

describeVectors('the hash of a schema, by the public vector', () => {
  const { json_schema: schema, schema_hash: placeholder } = vector<SchemaVector>(
    'contracts/mcp_discovery/get_schema.json',
  ).expected;

  it('is the SHA-256 of its canonical form', () => {
    expect(schemaHash(schema)).toBe('sha256:a2550f6f78c0bf90f471ee9ebcf8081106ad1001620be1960bdc818e73128b9f');
  });

  it('is not the placeholder that the vector carries, which is the hash of nothing', () => {
    expect(schemaHash(schema)).not.toBe(placeholder);
  });

  it('does not depend on the order of members, and does on everything else', () => {
    const reversed = Object.fromEntries(Object.entries(schema).reverse()) as JsonObject;
    expect(schemaHash(reversed)).toBe(schemaHash(schema));
    expect(schemaHash({ ...schema, title: '' })).not.toBe(schemaHash(schema));
  });

  it('is not that of a definition, which changes with name, description and output', () => {
    const tool = { name: 'a', inputSchema: schema };
    const others = [
      { ...tool, name: 'b' },
      { ...tool, description: '' },
      { ...tool, outputSchema: {} },
      { name: 'a', inputSchema: {} },
    ];
    expect(new Set([schemaHash(schema), definitionHash(tool), ...others.map(definitionHash)]).size).toBe(6);
    expect(definitionHash({ ...tool, title: 'A', annotations: { readOnlyHint: true } })).toBe(definitionHash(tool));
  });
});
