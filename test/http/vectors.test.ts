/**
 * The public vectors of signed frames, of digests, and of discovery and invocation over REST. What is wrong in the vectors
 * themselves is in one table, and each row shows that it is.
 */
import { createPublicKey, sign, verify } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { decodeCapability } from '../../src/core/capability-claims.ts';
import { isDenial } from '../../src/core/denial.ts';
import { parseDid } from '../../src/core/did.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { schemaHash } from '../../src/mcp/tools/tool-definition.ts';
import { callTool, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { issuerOfSeed, tokenOfText, tokenWith } from '../support/issuer.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { sendResult, toolNamed } from '../support/mcp-scripted.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';
import { describeVectors, vector, vectorFiles, vectorText } from '../support/vectors.ts';

interface Case {
  readonly input: JsonObject;
  readonly expected: JsonObject;
}

const hashOf = (value: JsonValue) => sha256Hex(canonicalize(value));
const invocation = (name: string) => vector<Case>(`contracts/mcp_invoke/${name}.json`);
const discovery = (name: string) => vector<Case>(`contracts/mcp_discovery/${name}.json`).expected;

/** Part of a vector file, why it is not what the gateway does, and whether that is still so. */
const knownWrong: readonly (readonly [file: string, why: string, isWrong: () => boolean])[] = [
  [
    'contracts/sdk/canonical_json.json',
    'the hash of its first case is not the SHA-256 of the canonical form beside it',
    () => {
      const [first] = vector<{ vectors: { expected: Record<string, string> }[] }>(
        'contracts/sdk/canonical_json.json',
      ).vectors;
      return sha256Hex(first?.expected['canonical'] ?? '') !== first?.expected['hash_sha256_hex'];
    },
  ],
  [
    'contracts/mcp_discovery/get_schema.json',
    'its schema_hash is the SHA-256 of no bytes at all',
    () => discovery('get_schema')['schema_hash'] === `sha256:${sha256Hex('')}`,
  ],
  [
    'contracts/mcp_discovery/list_tools.json',
    'its references to schemas are placeholders; the gateway sends the schemas themselves',
    () => JSON.stringify(discovery('list_tools')).includes('"hash_12345"'),
  ],
  [
    'contracts/mcp_chat/oversize_message.json',
    'its message is a placeholder of 28 characters, which is not too long',
    () => JSON.stringify(vector('contracts/mcp_chat/oversize_message.json')).includes('REPLACE_WITH_4001_PLUS_CHARS'),
  ],
  ...['happy_path', 'ollama_unavailable', 'oversize_message'].map(
    (name) =>
      [
        `contracts/mcp_chat/${name}.json`,
        'its capability is a placeholder without a signature, which only development mode takes',
        () =>
          isDenial(
            decodeCapability(String(vector<JsonObject>(`contracts/mcp_chat/${name}.json`)['capability']), 4_096),
          ),
      ] as const,
  ),
  ...['denied', 'transport_timeout'].map(
    (name) =>
      [
        `contracts/mcp_invoke/${name}.json`,
        'its refusal is an error within an answer; the gateway answers with its code as the HTTP status',
        () => 'error' in invocation(name).expected,
      ] as const,
  ),
  [
    'contracts/mcp_hashing_vectors.json',
    'its negative cases are of checks of documents, which connectors make and gateways do not',
    () =>
      vector<{ negative_validation_vectors: object[] }>(
        'contracts/mcp_hashing_vectors.json',
      ).negative_validation_vectors.every((entry) => 'doc_spec' in entry),
  ],
];

describeVectors('what is wrong in the vectors', () => {
  it.each(knownWrong)('%s: %s', (_file, _why, isWrong) => {
    expect(isWrong()).toBe(true);
  });
});

describeVectors('every vector', () => {
  it('is read by a test', () => {
    const tests = resolve(import.meta.dirname, '..');
    const sources = globSync('**/*.test.ts', { cwd: tests })
      .map((path) => readFileSync(join(tests, path), 'utf8'))
      .filter((text) => text.includes('support/vectors.ts'));
    // By its path, or by its name and the path of its folder.
    const isRead = (path: string) =>
      sources.some(
        (text) =>
          text.includes(`'${path}'`) ||
          (text.includes(`${dirname(path)}/\${`) &&
            text.includes(`'${basename(path).replace(/(_valid)?\.\w+$/, '')}'`)),
      );
    const files = vectorFiles('contracts').concat(vectorFiles('capability'));
    expect(files.length).toBeGreaterThan(30);
    expect(files.filter((path) => !isRead(path))).toEqual([]);
  });
});

describeVectors('signed frames', () => {
  const frame = (name: string) => vector<JsonObject>(`capability/positive/${name}.json`);

  function isSigned({ sig, ...rest }: JsonObject, did = String(rest['peer_id'])): boolean {
    const { publicKey } = parseDid(did);
    return verify(null, Buffer.from(canonicalize(rest)), publicKey, Buffer.from(String(sig), 'base64url'));
  }

  it.each(['mcp_message_frame', 'mcp_response_frame', 'envelope_tool_call'])('%s is signed by its peer', (name) => {
    const signed = frame(name);
    expect(isSigned(signed)).toBe(true);
    for (const member of Object.keys(signed).filter((key) => key !== 'sig' && key !== 'peer_id')) {
      expect(isSigned({ ...signed, [member]: 'another' }), member).toBe(false);
    }
    expect(isSigned(signed, issuerOfSeed('33'.repeat(32)).did)).toBe(false);
  });

  it.each(['mcp_message_frame', 'envelope_tool_call'])('%s names its capability and its request by hash', (name) => {
    const { capability, capability_hash, request_hash } = frame(name);
    const decoded = decodeCapability(tokenOfText(JSON.stringify(capability)), 16_384);
    expect(decoded).toMatchObject({ hash: capability_hash });
    expect(request_hash).toBe(vectorText('capability/positive/request_hash.hex'));
  });

  it('name a request by the hash of its canonical form', () => {
    const text = canonicalize(frame('mcp_request'));
    expect(text).toBe(vectorText('capability/positive/mcp_request_canonical.bytes'));
    expect(sha256Hex(text)).toBe(vectorText('capability/positive/request_hash.hex'));
  });

  it('sign a request with its correlation, and no other', () => {
    const { vectors, negative_cases } = vector<{
      vectors: { inputs: JsonObject; expected: JsonObject }[];
      negative_cases: { inputs: Record<string, string> }[];
    }>('contracts/sdk/mcp_sign_verify.json');
    expect(vectors).toHaveLength(1);
    for (const { inputs, expected } of vectors) {
      const { signer_seed_hex: seed, ...payload } = inputs;
      const text = canonicalize(payload);
      expect(text).toBe(expected['payload_canonical']);
      const { privateKey } = issuerOfSeed(String(seed));
      const signature = sign(null, Buffer.from(text), privateKey);
      expect(signature).toHaveLength(Number(expected['signature_length']));
      const isOf = (correlation: string | undefined) =>
        verify(
          null,
          Buffer.from(canonicalize({ ...payload, correlation_id: correlation ?? '' })),
          createPublicKey(privateKey),
          signature,
        );
      expect(isOf(String(payload['correlation_id']))).toBe(true);
      for (const { inputs: wrong } of negative_cases) expect(isOf(wrong['actual_correlation_id'])).toBe(false);
    }
  });
});

describeVectors('digests of tool calls and documents', () => {
  const file = () =>
    vector<{
      tool_call_vectors: { input: JsonObject; digest: string }[];
      document_vectors: { input?: JsonValue; input_b64?: string; digest: string }[];
    }>('contracts/mcp_hashing_vectors.json');

  it('are those of the canonical form, or of the bytes', () => {
    const { tool_call_vectors: calls, document_vectors: documents } = file();
    expect(calls.map(({ input }) => hashOf(input))).toEqual(calls.map(({ digest }) => digest));
    const made = documents.map(({ input, input_b64: bytes }) =>
      bytes === undefined ? hashOf(input ?? null) : sha256Hex(Buffer.from(bytes, 'base64')),
    );
    expect(made).toEqual(documents.map(({ digest }) => digest));
  });

  it('differ with every part of a call', () => {
    const { tool_call_vectors: calls } = file();
    for (const { input, digest } of calls) {
      for (const part of Object.keys(input)) expect(hashOf({ ...input, [part]: 'another' })).not.toBe(digest);
    }
  });
});

describeVectors('discovery and invocation', () => {
  const token = tokenWith({ scope: 'tool:*' });
  let upstream: Upstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    const { json_schema: inputSchema } = discovery('get_schema');
    upstream = await startUpstream({
      tools: [
        ...(discovery('list_tools')['tools'] as JsonObject[]).map(({ name, description }) => ({
          name: name ?? '',
          description: description ?? '',
          inputSchema: inputSchema ?? {},
        })),
        toolNamed('heavy_compute'),
        toolNamed('delete_database'),
      ],
      calls: {
        git_commit: (received, response) =>
          sendResult(received, response, invocation('success').expected['output'] as JsonObject),
        heavy_compute: () => undefined,
      },
    });
    const servers = discovery('list_servers')['servers'] as JsonObject[];
    const nameOf = (at: number) => JSON.stringify(servers[at]?.['name']);
    gateway = await startTestGateway({
      env: { TALOS_REQUIRE_CAPABILITY: 'true' },
      clock: wallClock(),
      file: `servers:
  local-git: { url: ${upstream.url}, transport: jsonrpc, name: ${nameOf(0)} }
  remote-weather: { url: ${upstream.url}, transport: jsonrpc, name: ${nameOf(1)} }
  remote-slow: { url: ${upstream.url}, transport: jsonrpc, call_timeout: 0.3 }
  sensitive-ops: { url: ${upstream.url}, transport: jsonrpc }
  on-disk: { command: ${process.execPath}, args: [${scriptedStdioProgram}] }
`,
    });
  });

  afterAll(async () => {
    await gateway?.stop();
    await upstream?.close();
  });

  function invoke({ input: { server_id, tool_name, input, request_id } }: Case, withToken = token) {
    const options = { token: withToken, server: String(server_id), requestId: String(request_id) };
    return callTool(gateway, String(tool_name), input as JsonObject, options);
  }

  it('lists the servers', async () => {
    const { body } = await gateway.send('/v1/mcp/servers', { token });
    const servers = body['servers'] as JsonObject[];
    const brief = (entries: JsonObject[]) => entries.map(({ id, name }) => [id, name]);
    expect(brief(servers)).toEqual(expect.arrayContaining(brief(discovery('list_servers')['servers'] as JsonObject[])));
    const transports = Object.fromEntries(servers.map(({ id, transport }) => [id, transport]));
    expect(transports).toMatchObject({ 'on-disk': 'stdio', 'remote-weather': 'http' });
  });

  it('lists the tools of a server', async () => {
    const expected = discovery('list_tools');
    const { body } = await gateway.send('/v1/mcp/servers/local-git/tools', { token });
    expect(body['server_id']).toBe(expected['server_id']);
    const brief = (value: JsonValue | undefined) =>
      (value as JsonObject[]).map(({ name, description }) => ({ name, description }));
    expect(brief(body['tools'])).toEqual(expect.arrayContaining(brief(expected['tools'])));
  });

  it('gives the schema of a tool, with its true hash', async () => {
    const expected = discovery('get_schema');
    const { body } = await gateway.send('/v1/mcp/servers/local-git/tools/git_commit/schema', { token });
    expect(body).toMatchObject({ ...expected, schema_hash: schemaHash(expected['json_schema'] as JsonObject) });
  });

  it('answers a call that succeeds', async () => {
    const success = invocation('success');
    const { timing_ms: _, ...expected } = success.expected;
    const { status, body } = await invoke(success);
    expect([status, body]).toMatchObject([200, { ...expected, timing_ms: expect.any(Number) }]);
    expect(body).not.toHaveProperty('error');
    expect(upstream.calls.at(-1)?.args).toEqual(success.input['input']);
  });

  it('says that the arguments are wrong, before the tool is called', async () => {
    const mismatch = invocation('schema_mismatch');
    const before = upstream.calls.length;
    const { status, body } = await invoke(mismatch);
    const { code, category, retryable } = mismatch.expected['error'] as JsonObject;
    expect([status, body]).toMatchObject([200, { request_id: 'req-000', error: { code, category, retryable } }]);
    const error = body['error'] as JsonObject;
    expect(error['message']).toMatch(/^Input does not match schema: .*'message'/);
    expect((error['details'] as JsonObject)['validation_errors']).toHaveLength(1);
    expect(upstream.calls).toHaveLength(before);
  });

  it.each([
    ['denied', 'TALOS_DENIED', 'nobody'],
    ['transport_timeout', 'UPSTREAM_TIMEOUT', token],
  ])('answers %s with the code of the vector as its status', async (name, code, credential) => {
    const refused = invocation(name);
    const { status, body } = await invoke(refused, credential);
    const error = refused.expected['error'] as JsonObject;
    expect(status).toBe(error['code']);
    expect(body).toMatchObject({ request_id: refused.input['request_id'], code });
    expect(body).not.toHaveProperty('output');
  });
});
