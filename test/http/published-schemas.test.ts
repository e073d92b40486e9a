/**
 * What the gateway says, judged by the published schemas. Where a schema forbids what the gateway does on purpose, the
 * difference is in one table, and the schema counts but for that.
 */
import { globSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { didTalosFromPublicKey } from '../../src/core/did.ts';
import { errorTable } from '../../src/core/errors.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { permissionOfAction } from '../../src/core/permission.ts';
import type { Surface } from '../../src/core/surface-kinds.ts';
import { surfaces } from '../../src/core/surfaces.ts';
import { readToolRegistry } from '../../src/mcp/tool-registry.ts';
import { callTool, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { attest } from '../support/identity.ts';
import { issuerOfSeed, signedText, testNowSec, tokenOfText, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { query } from '../support/log-fixture.ts';
import { sendError } from '../support/mcp-scripted.ts';
import { connect, initMessage } from '../support/stream.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';
import { describeVectors, vector, vectorFiles } from '../support/vectors.ts';

type Schema = Record<string, unknown>;

interface Difference {
  readonly why: string;
  readonly apply: (schema: Schema) => void;
}

const at = (schema: Schema, ...path: string[]) => path.reduce<Schema>((value, name) => value[name] as Schema, schema);

/** Schemas that forbid what the gateway does on purpose. */
const differences: Readonly<Record<string, Difference>> = {
  'common/errors': {
    why: 'The gateway has one table of codes, of which these are a part. Beside the envelope an answer names its record, and one about faults of the request lists them in `detail`.',
    apply(schema) {
      const code = at(schema, 'properties', 'code');
      code['enum'] = [...new Set([...(code['enum'] as string[]), ...Object.keys(errorTable)])];
      Object.assign(at(schema, 'properties'), { audit_ref: { type: 'string' }, detail: { type: 'array' } });
    },
  },
  error: {
    why: 'The older envelope, which all answers of the gateway are supersets of: they also say whether to try again, and name their record.',
    apply(schema) {
      const code = at(schema, 'properties', 'code');
      code['enum'] = [...new Set([...(code['enum'] as string[]), ...Object.keys(errorTable)])];
      const more = { retryable: { type: 'boolean' }, audit_ref: { type: 'string' }, detail: { type: 'array' } };
      Object.assign(at(schema, 'properties'), more);
    },
  },
  'rbac/role': {
    why: 'The answer to a change names its record.',
    apply: (schema) => void Object.assign(at(schema, 'properties'), { audit_ref: { type: 'string' } }),
  },
  'rbac/binding': {
    why: 'The answer to a change names its record, and each binding its own team: one principal may act for several.',
    apply(schema) {
      Object.assign(at(schema, 'properties'), { audit_ref: { type: 'string' } });
      Object.assign(at(schema, '$defs', 'binding_entry', 'properties'), { team_id: { type: 'string' } });
    },
  },
  'mcp/server': {
    why: 'Tags are a list, as the public API of the registry lists them, and `auto` finds the transport out.',
    apply(schema) {
      Object.assign(at(schema, 'properties'), { tags: { type: 'array', items: { type: 'string' } } });
      at(schema, 'properties', 'transport')['enum'] = ['stdio', 'http', 'auto', 'jsonrpc', 'streamable-http'];
    },
  },
};

/** Schemas that others refer to. */
const shared = ['mcp/errors', 'mcp/capability'];

/** Why the value is not of the schema; empty when it is. With `asPublished` no difference is forgiven. */
function faults(name: string, value: unknown, { asPublished = false, part = '' } = {}): string[] {
  const ajv = addFormats.default(new Ajv2020({ strict: false, allErrors: true, validateSchema: false }));
  const read = (of: string) => {
    const { $schema: _, ...schema } = vector<Schema>(`schemas/${of}${of === 'capability_token' ? '' : '.schema'}.json`);
    return schema;
  };
  for (const of of shared.filter((other) => other !== name)) ajv.addSchema(read(of));
  const schema = read(name);
  if (!asPublished) differences[name]?.apply(schema);
  ajv.addSchema(schema, 'judged');
  const check = ajv.getSchema(`judged${part}`);
  if (check === undefined) throw new Error(`no such schema: ${name}${part}`);
  return check(value) ? [] : (check.errors ?? []).map((fault) => `${fault.instancePath} ${fault.message}`);
}

const testFolder = join(import.meta.dirname, '..');
const admin = productionEnv.AUTH_ADMIN_SECRET;
const token = tokenWith({ scope: 'tool:* tool:gateway/method:events.read' });
let folder: string;
let upstream: Upstream;
let gateway: TestGateway;

const ask = (path: string, json?: JsonValue, withToken = admin) =>
  gateway.send(path, { token: withToken, ...(json === undefined ? {} : { json }) });

describeVectors('by the published schema', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'talos-schemas-'));
    upstream = await startUpstream({
      tools: [{ name: 'typed', inputSchema: { type: 'object', required: ['text'] } }],
      calls: { echo, fail: (received, response) => sendError(received, response, -32_011, 'no') },
    });
    const env = {
      ...productionEnv,
      TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
      TALOS_MASTER_KEY: `main:${'c0'.repeat(32)}`,
      TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    };
    gateway = await startTestGateway({ env, clock: wallClock(), servers: { tested: upstream.url } });
  });

  afterAll(async () => {
    await gateway?.stop();
    await upstream?.close();
    await rm(folder, { recursive: true });
  });

  it('every schema that is published is judged, here or beside what it is of', () => {
    const sources = globSync('**/*.test.ts', { cwd: testFolder }).map((file) =>
      readFileSync(join(testFolder, file), 'utf8'),
    );
    const names = vectorFiles('schemas').map((file) =>
      file.slice('schemas/'.length).replace(/(?:\.schema)?\.json$/, ''),
    );
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => !sources.some((source) => source.includes(name)))).toEqual([]);
  });

  it.each([
    ['no capability at all', '/admin/v1/capabilities/inspect', { token: 'nonsense' }],
    ['a scope that is none', '/admin/v1/capabilities', { subject: 'x', scope: 'nothing', ttl_seconds: 60 }],
    ['a body that is not valid', '/admin/v1/policy/explain', {}],
    ['an API key that is not valid', '/admin/v1/api-keys', { name: '' }],
    ['a revocation of no capability', '/admin/v1/capabilities/revoke', { token: 'nonsense' }],
    ['an explanation for a stranger', '/admin/v1/policy/explain', { server_id: 'a', tool_name: 'b' }, 'nobody'],
    ['an explanation for an agent', '/admin/v1/policy/explain', { server_id: 'a', tool_name: 'b' }, token],
  ])('common/errors: %s', async (_, path, json, withToken?: string) => {
    const { status, body, text } = await ask(path, json, withToken);
    expect(status, text).toBeGreaterThanOrEqual(400);
    expect(faults('common/errors', body)).toEqual([]);
  });

  it('common/errors: an answer that names no record and has a code of the schema needs no forgiveness', async () => {
    const strange = await ask('/admin/v1/policy/explain', { server_id: 'a', tool_name: 'b' }, token);
    const { audit_ref: ref, ...body } = strange.body;
    expect([ref, body['code']]).toEqual([expect.any(String), 'TALOS_DENIED']);
    expect(faults('common/errors', body, { asPublished: true })).toEqual([]);
    expect(faults('common/errors', strange.body, { asPublished: true })).not.toEqual([]);
  });

  it('error: every answer of the shared envelope is one of the older envelope too', async () => {
    const strange = await ask('/admin/v1/policy/explain', { server_id: 'a', tool_name: 'b' }, token);
    const wrong = await ask('/admin/v1/policy/explain', {});
    for (const { body } of [strange, wrong]) expect(faults('error', body)).toEqual([]);
    const { audit_ref: _, retryable: __, ...older } = strange.body;
    expect(faults('error', older, { asPublished: true })).toEqual([]);
    expect(faults('error', strange.body, { asPublished: true })).not.toEqual([]);
    expect(faults('error', { ...older, code: 'NO_SUCH_CODE' })).not.toEqual([]);
  });

  it.each(['/log/tile/9/000', '/log/consistency?from=9&to=1', '/log/tile/entries/x'])(
    'common/errors: %s',
    async (path) => {
      const { status, body, text } = await ask(path, undefined, token);
      expect(status, text).toBeGreaterThanOrEqual(400);
      expect(faults('common/errors', body)).toEqual([]);
    },
  );

  const formA = {
    version: '1.0',
    issuer: trustedIssuer.did,
    subject: issuerOfSeed('77'.repeat(32)).did,
    scope: [{ tool: 'tested', actions: ['echo'] }],
    exp: testNowSec + 3_500,
    nonce: 'unique-nonce-12345678',
  };
  const callAs = (claims: object) => {
    const text = signedText(claims, trustedIssuer, 'signature');
    const sent = callTool(gateway, 'echo', {}, { token: tokenOfText(text) });
    return { token: JSON.parse(text) as JsonObject, sent };
  };

  it.each<[string, object]>([
    ['as it is', {}],
    ['with all that is optional', { nbf: testNowSec - 10, metadata: { for: 'people' } }],
    ['with actions more', { scope: [...formA.scope, { tool: 'other', actions: ['a', 'b'] }] }],
  ])('capability_token: a token of the schema is taken %s', async (_, changes) => {
    const { token: written, sent } = callAs({ ...formA, ...changes });
    expect(faults('capability_token', written, { asPublished: true })).toEqual([]);
    expect((await sent).status).toBe(200);
  });

  it.each<[string, object]>([
    ['a version that there is not', { version: '1.1' }],
    ['a version that is a number', { version: 1 }],
    ['an issuer of another kind', { issuer: didTalosFromPublicKey(trustedIssuer.publicKey) }],
    ['a subject that is none', { subject: 'agent' }],
    ['a scope that is a text', { scope: 'tool:tested' }],
    ['a scope of texts', { scope: ['tested'] }],
    ['a scope without actions', { scope: [{ tool: 'tested' }] }],
    ['an end that is a text', { exp: String(testNowSec + 60) }],
    ['a short nonce', { nonce: 'short' }],
    ['metadata that is a text', { metadata: 'x' }],
    ['a claim more', { delegatable: true }],
  ])('capability_token: what the schema refuses is refused: %s', async (_, changes) => {
    const { token: written, sent } = callAs({ ...formA, ...changes });
    expect(faults('capability_token', written, { asPublished: true })).not.toEqual([]);
    expect((await sent).status).toBe(401);
  });

  it('gateway/surface_registry: the table of surfaces can be told in it', () => {
    const routes = Object.values<Surface>(surfaces)
      .filter(({ template }) => !template.startsWith('/internal/'))
      .map(({ method, template, action }) => ({
        method,
        path_template: template,
        permission: action === undefined ? 'mcp:invoke' : permissionOfAction(action).permission,
        scope_template: scopeTemplateOf(template, action),
        ...(action === undefined && !/^\/(?:v1\/)?mcp/.test(template) ? { public: true } : {}),
      }));
    // Two ways of using one address are one route there.
    const unique = [...new Map(routes.map((route) => [JSON.stringify(route), route])).values()];
    const registry = { schema_id: 'talos.gateway.surface_registry', schema_version: 'v1', routes: unique };
    expect(unique.length).toBeGreaterThan(60);
    expect(faults('gateway/surface_registry', registry, { asPublished: true })).toEqual([]);
    const dotted = { ...registry, routes: [{ ...unique[0], permission: 'events.read' }] };
    expect(faults('gateway/surface_registry', dotted, { asPublished: true })).not.toEqual([]);
  });

  /** Where roles are looked for, as the policy has it. */
  function scopeTemplateOf(template: string, action: string | undefined) {
    if (template.includes('{tool_name}')) {
      return { scope_type: 'path', attributes: { server: '{server_id}', tool: '{tool_name}' } };
    }
    if (/\/secrets\/\{name\}/.test(template)) return { scope_type: 'secret', attributes: { secret: '{name}' } };
    return action?.startsWith('events.')
      ? { scope_type: 'team', attributes: { team: '{team_id}' } }
      : { scope_type: 'global', attributes: {} };
  }

  const older = {
    config_version: '1.0',
    contracts_version: '1.0.0',
    global: { env: 'local', region: 'eu-west-1', log_level: 'WARNING' },
    gateway: { port: 8123, host: '127.0.0.1', disable_auth: false },
    audit: { storage_backend: 'postgres', retention_days: 30 },
    mcp_connector: { allowed_servers: ['https://tools.example/'] },
    extensions: { gateway: { ollama_url: 'http://127.0.0.1:11434' }, others: { x: 1 } },
  };
  const load = async (file: object) => {
    const path = join(folder, 'talos.config.yaml');
    await writeFile(path, JSON.stringify(file), { mode: 0o600 });
    return loadConfig({ env: { TALOS_CONFIG: path }, cwd: folder });
  };

  it('config/v1/talos.config: a file of the schema is read, and means what it says', async () => {
    expect(faults('config/v1/talos.config', older, { asPublished: true })).toEqual([]);
    const { config } = await load(older);
    expect(config).toMatchObject({ mode: 'development', region: 'eu-west-1', port: 8123, bindHost: '127.0.0.1' });
    expect(config).toMatchObject({ auditRetentionDays: 30, logLevel: 'warn' });
  });

  it.each<[string, object]>([
    ['another version', { config_version: '2.0' }],
    ['a key more', { nonsense: 1 }],
    ['a key more in a section', { gateway: { ...older.gateway, nonsense: 1 } }],
    ['an environment that there is not', { global: { env: 'staging' } }],
    ['a level that there is not', { global: { env: 'local', log_level: 'LOUD' } }],
    ['a port that is a word', { gateway: { port: 'http' } }],
    ['a time to keep that is none', { audit: { retention_days: 0 } }],
    ['a server that is no address', { mcp_connector: { allowed_servers: 'x' } }],
  ])('config/v1/talos.config: what the schema refuses stops the start: %s', async (_, changes) => {
    const file = { ...older, ...changes };
    expect(faults('config/v1/talos.config', file, { asPublished: true })).not.toEqual([]);
    await expect(load(file)).rejects.toThrow();
  });

  it('config/v1/talos.config: what it allows and a gateway must not do is refused', async () => {
    const file = { ...older, gateway: { disable_auth: true } };
    expect(faults('config/v1/talos.config', file, { asPublished: true })).toEqual([]);
    await expect(load(file)).rejects.toThrow('cannot be switched off');
  });

  it('rbac/role', async () => {
    const made = await ask('/admin/v1/rbac/roles', { name: 'reader', permissions: ['events:read'], description: 'x' });
    expect(made.status, made.text).toBe(200);
    expect(faults('rbac/role', made.body)).toEqual([]);
    expect(faults('rbac/role', made.body, { asPublished: true })).not.toEqual([]);
    const roles = (await ask('/admin/v1/rbac/roles')).body['roles'] as JsonObject[];
    expect(roles.length).toBeGreaterThan(6);
    for (const role of roles) expect(faults('rbac/role', role, { asPublished: true })).toEqual([]);
  });

  it('rbac/binding', async () => {
    const scope = { scope_type: 'team', attributes: { team_id: 'red' } };
    const bindings = [{ role_id: 'TeamViewer', scope }];
    const made = await ask('/admin/v1/rbac/bindings', { principal_id: 'ann', bindings });
    expect(made.status, made.text).toBe(200);
    expect(faults('rbac/binding', made.body)).toEqual([]);
    expect(faults('rbac/binding', made.body, { asPublished: true })).not.toEqual([]);
    for (const of of (await ask('/admin/v1/rbac/bindings')).body['bindings'] as JsonObject[]) {
      expect(faults('rbac/binding', of)).toEqual([]);
    }
  });

  it('secrets/envelope.v1', async () => {
    expect((await ask('/admin/v1/secrets', { name: 'stored', value: 'a value' })).status).toBe(200);
    const rows = await query(gateway.database.url, 'SELECT envelope, wrapped_key FROM secret');
    expect(rows).toHaveLength(1);
    for (const row of rows) {
      expect(faults('secrets/envelope.v1', row['envelope'])).toEqual([]);
      expect(faults('secrets/envelope.v1', row['wrapped_key'])).toEqual([]);
    }
  });

  it('crypto/http_attestation: headers of the schema are taken, others are not', async () => {
    const agent = issuerOfSeed('77'.repeat(32));
    const capability = tokenWith({ scope: 'tool:gateway/method:events.read', sub: agent.did });
    const good = () => attest(agent, { path: '/api/events', opcode: 'events.list' });
    const ofSchema = (headers: Record<string, string>) =>
      Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [
          name.replaceAll('-', '_'),
          name === 'x-talos-timestamp' && /^-?\d+$/.test(value) ? Number(value) : value,
        ]),
      );
    const send = (headers: Record<string, string>) => gateway.send('/api/events', { capability, headers });
    const taken = good();
    expect(faults('crypto/http_attestation', ofSchema(taken))).toEqual([]);
    expect((await send(taken)).status).toBe(200);
    const wrong: Record<string, string>[] = [
      attest(agent, { path: '/api/events', opcode: 'events.list', nonce: 'short' }),
      attest(agent, { path: '/api/events', opcode: 'events.list', nonce: 'n'.repeat(129) }),
      attest(agent, { path: '/api/events', opcode: 'events.list', timestamp: `${testNowSec}.5` }),
      { ...good(), 'x-talos-signature': `${good()['x-talos-signature']}==` },
      { ...good(), 'x-talos-sig-alg': 'rsa' },
      { ...good(), 'x-talos-sig-version': 'v2' },
    ];
    for (const headers of wrong) {
      expect(faults('crypto/http_attestation', ofSchema(headers))).not.toEqual([]);
      expect((await send(headers)).status).toBe(401);
    }
  });

  it('mcp/discovery, mcp/tools and mcp/schema_fetch', async () => {
    const published = { asPublished: true };
    expect(faults('mcp/discovery', (await ask('/v1/mcp/servers', undefined, token)).body, published)).toEqual([]);
    const tools = await ask('/v1/mcp/servers/tested/tools', undefined, token);
    expect([tools.status, faults('mcp/tools', tools.body, published)]).toEqual([200, []]);
    const schema = await ask('/v1/mcp/servers/tested/tools/typed/schema', undefined, token);
    expect([schema.status, faults('mcp/schema_fetch', schema.body, published)]).toEqual([200, []]);
  });

  it.each<[string, JsonObject, 'output' | 'error']>([
    ['echo', { text: 'x' }, 'output'],
    ['fail', {}, 'error'],
    ['typed', {}, 'error'],
  ])('mcp/invoke and mcp/errors: the answer of %s', async (tool, input, member) => {
    const { status, body } = await callTool(gateway, tool, input, { token, requestId: 'r-1' });
    expect(status).toBe(200);
    expect(body).toHaveProperty(member);
    const part = '#/definitions/InvokeToolResponse';
    expect(faults('mcp/invoke', body, { asPublished: true, part })).toEqual([]);
    if (member === 'error') expect(faults('mcp/errors', body['error'], { asPublished: true })).toEqual([]);
  });

  it('mcp/invoke, mcp/tool_call_envelope and mcp/chat_tool: the vectors', () => {
    const part = '#/definitions/InvokeToolRequest';
    for (const name of ['success', 'denied', 'schema_mismatch', 'transport_timeout']) {
      const { input } = vector<{ input: unknown }>(`contracts/mcp_invoke/${name}.json`);
      expect(faults('mcp/invoke', input, { part }), name).toEqual([]);
    }
    const { tool_call_vectors: calls } = vector<{ tool_call_vectors: { input: unknown }[] }>(
      'contracts/mcp_hashing_vectors.json',
    );
    for (const { input } of calls) expect(faults('mcp/tool_call_envelope', input)).toEqual([]);
    for (const name of ['happy_path', 'invalid_capability', 'ollama_unavailable', 'oversize_message']) {
      expect(faults('mcp/chat_tool', vector(`contracts/mcp_chat/${name}.json`)), name).toEqual([]);
    }
  });

  it('mcp/server', async () => {
    const servers = (await ask('/admin/v1/mcp/servers')).body['servers'] as JsonObject[];
    expect(servers).toHaveLength(1);
    for (const server of servers) expect(faults('mcp/server', server)).toEqual([]);
    expect(faults('mcp/server', servers[0], { asPublished: true })).not.toEqual([]);
  });

  it('mcp/tool_registry: a file of the schema is read', async () => {
    const entry = { tool_server: 'tested', tool_name: 'echo', tool_class: 'read', requires_idempotency_key: false };
    const registry = { registry_version: '1.0.0', generated_at: '2026-01-01T00:00:00Z', tools: [entry] };
    expect(faults('mcp/tool_registry', registry)).toEqual([]);
    const file = join(folder, 'registry.json');
    await writeFile(file, JSON.stringify(registry));
    expect((await readToolRegistry(file))('tested', 'echo').class).toBe('read');
    const wrong = { ...registry, tools: [{ ...entry, tool_class: 'delete' }] };
    expect(faults('mcp/tool_registry', wrong)).not.toEqual([]);
    await writeFile(file, JSON.stringify(wrong));
    await expect(readToolRegistry(file)).rejects.toThrow('must be read or write');
  });

  it('stream/error_codes: what ends a stream has one of them', async () => {
    const codes = vector<string[]>('schemas/stream/error_codes.json');
    const ts = new Date(testNowSec * 1000).toISOString();
    const told: unknown[] = [];
    for (const message of [{ type: 'nonsense' }, initMessage({ capability: 'nonsense', ts }), initMessage()]) {
      const client = await connect(gateway);
      client.send(message);
      await client.closed;
      told.push(...client.of('error').map(({ code }) => code));
    }
    expect(told).toEqual(['INVALID_MESSAGE', 'AUTH_FAILED', 'AUTH_FAILED']);
    expect(codes).toEqual(expect.arrayContaining(told));
  });
});
