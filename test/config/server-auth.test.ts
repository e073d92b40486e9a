import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { describeAsYaml } from '../../src/config/describe.ts';
import { readManagedServer, secretsOf } from '../../src/config/managed-server.ts';
import { authKeys } from '../../src/config/server-auth-entry.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { tokenPurpose } from '../../src/core/server-auth.ts';
import { load, refusal } from './support.ts';

const development = { DEV_MODE: 'true' };

function entry(auth: string): string {
  return `servers: {a: {url: "https://h/mcp", auth: ${auth}}}`;
}

describe('auth of a tool server', () => {
  it('is read with its secret, which is not shown', () => {
    const loaded = load(
      { ...development, CLIENT: 'canary' },
      entry(
        `{type: oauth, client_id: talos, client_secret: "\${CLIENT}", issuer: "https://i", scopes: [a, b], client_auth: post}`,
      ),
    );
    const [spec] = loaded.config.servers;
    expect(spec?.auth).toMatchObject({ type: 'oauth', clientId: 'talos', clientAuth: 'post', scopes: ['a', 'b'] });
    expect(spec?.auth?.secrets?.client_secret).toBe('canary');
    expect(inspect(spec, { depth: 9 }) + JSON.stringify(spec) + describeAsYaml(loaded)).not.toContain('canary');
    expect(describeAsYaml(loaded)).toContain('client_id: talos');
  });

  it('needs no client where the gateway makes itself known, and may say nothing of the resource', () => {
    const [spec] = load(development, entry('{type: oauth, registration: dynamic}')).config.servers;
    expect(spec?.auth).toEqual({ type: 'oauth', registration: 'dynamic' });
    const silent = entry('{type: oauth, issuer: "https://i", resource: false}');
    expect(load(development, silent).config.servers[0]?.auth).toMatchObject({ resource: false });
  });

  it('may name a secret of the store, in two ways', () => {
    for (const secret of [`"\${secret:drive}"`, '{secret: drive}']) {
      const [spec] = load(
        development,
        entry(`{type: client_credentials, client_id: t, token_url: "https://t", client_secret: ${secret}}`),
      ).config.servers;
      expect(spec && secretsOf(spec)).toEqual(['drive']);
    }
  });

  it.each([
    ['5', /auth must be a map/],
    ['{}', /auth needs a type/],
    ['{client_id: t}', /auth needs a type/],
    ['{type: oauth, client_secret: canary, issuer: "https://i"}', /auth\.client_secret needs a client_id/],
    ['{type: oauth, client_auth: post}', /auth\.client_auth needs a client_id/],
    ['{type: oauth, token_url: "https://t", authorization_url: "https://a"}', /auth\.token_url needs a client_id/],
    ['{type: oauth, client_id: t, registration: dynamic}', /auth\.registration does not go with a client_id/],
    ['{type: oauth, registration: canary}', /must be one of document, dynamic \(at "registration"\)/],
    ['{type: token_exchange, token_url: "https://t"}', /auth of the type "token_exchange" needs a client_id/],
    [
      '{type: client_credentials, client_id: t, token_url: "https://t", client_secret: "${secret:a}", registration: dynamic}',
      /auth\.registration does not go with/,
    ],
    ['{type: oauth, client_id: t, resource: false}', /auth\.resource may be false only with an issuer or a token_url/],
    ['{type: oauth, client_id: t, resource: true}', /must be an http:\/\/ or https:\/\/ address.*\(at "resource"\)/],
    ['{type: basic, client_id: t}', /must be one of oauth, token_exchange, client_credentials \(at "type"\)/],
    ['{type: oauth, client_id: t, secret: canary}', /holds a key that it does not know\. .*\(at "secret"\)/],
    ['{type: oauth, client_id: t, scopes: ["a b"]}', /must hold words without blanks.*\(at "scopes"\)/],
    ['{type: oauth, client_id: t, token_url: "https://t"}', /authorization_url and auth\.token_url go together/],
    [
      '{type: oauth, client_id: t, client_secret: canary}',
      /with a client_secret needs an issuer, or authorization_url and token_url/,
    ],
    ['{type: oauth, client_id: t, audience: x}', /auth\.audience does not go with the type "oauth"/],
    ['{type: oauth, client_id: t, issuer: "https://i?x=canary"}', /auth\.issuer must not have a query/],
    ['{type: oauth, client_id: t, issuer: "ftp://i"}', /must be an http:\/\/ or https:\/\/ address.*\(at "issuer"\)/],
    [
      `{type: oauth, client_id: t, issuer: "https://i", client_secret: "\${secret:a b}"}`,
      /names a secret by what cannot be its name/,
    ],
    ['{type: token_exchange, client_id: t}', /needs a token_url/],
    [
      '{type: token_exchange, client_id: t, token_url: "https://t", issuer: "https://i"}',
      /auth\.issuer does not go with/,
    ],
    ['{type: client_credentials, client_id: t, token_url: "https://t"}', /auth needs a client_secret/],
    ['{type: oauth, client_id: t, client_secret: {secret: "a b"}}', /the name of one \(at "client_secret"\)/],
    [`{type: oauth, client_id: t, client_secret: "\${NOT_SET}"}`, /needs the variable NOT_SET/],
  ])('%s is refused in one sentence that quotes no secret', (auth, sentence) => {
    const problems = refusal(development, entry(auth));
    expect(problems).toEqual([expect.stringMatching(sentence)]);
    expect(problems.join()).not.toContain('canary');
  });

  it('goes with addresses alone, and not with a header that says the same', () => {
    const withHeader =
      'servers: {a: {url: "https://h", headers: {Authorization: x}, auth: {type: oauth, client_id: t}}}';
    expect(refusal(development, withHeader)).toEqual([expect.stringMatching(/'authorization' does not go with auth/)]);
    const process = 'servers: {a: {command: x, auth: {type: oauth, client_id: t}}}';
    expect(refusal(development, process)).toEqual([
      expect.stringMatching(/auth does not go with the transport "stdio"/),
    ]);
  });

  it('is documented, key by key', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const section = page.split(/^## /m).find((part) => part.startsWith('Tokens for tool servers')) ?? '';
    const documented = [...section.matchAll(/^\| (`[^|]+) \|/gm)].flatMap(([, cell]) => cell?.match(/\w+/g) ?? []);
    expect(new Set(documented)).toEqual(new Set(authKeys));
  });
});

describe('auth of a server that is added to a running gateway', () => {
  const oauth = { type: 'oauth', client_id: 't' };
  const read = (fields: JsonObject) => readManagedServer('a', fields, { stdioAllowed: false });

  it('is taken with secrets by name, over https', () => {
    const auth = { ...oauth, issuer: 'https://i', client_secret: `\${secret:drive}` };
    expect(read({ url: 'https://h/mcp', auth }).spec?.auth?.type).toBe('oauth');
    expect(read({ url: 'http://h/mcp', allow_private: true, auth }).spec?.publicOnly).toBe(false);
  });

  it.each([
    [
      { url: 'https://h/mcp', auth: { ...oauth, issuer: 'https://i', client_secret: 'canary' } },
      /client_secret must refer to a secret/,
    ],
    [{ url: 'https://h/mcp', auth: { ...oauth, client_secret: `\${secret:drive}` } }, /needs an issuer/],
    [{ url: 'http://h/mcp', auth: oauth }, /must start with https/],
    [{ url: 'https://h/mcp', auth: { ...oauth, issuer: 'http://i' } }, /must start with https/],
    [{ url: 'https://h/mcp', auth: { ...oauth, client_secret: `\${HOME}` } }, /needs the variable HOME/],
  ])('%j is refused', (fields, sentence) => {
    const { problems } = read(fields as JsonObject);
    expect(problems).toEqual([expect.stringMatching(sentence)]);
    expect(problems?.join()).not.toContain('canary');
  });
});

describe('what tokens are for', () => {
  const of = (url: string, auth: object) => tokenPurpose({ url, auth: { type: 'oauth', clientId: 't', ...auth } });

  it('is another thing at another address, with another client or authorization server', () => {
    const all = [
      of('https://h/mcp', {}),
      of('https://h/other', {}),
      of('https://h/mcp', { clientId: 'u' }),
      of('https://h/mcp', { issuer: 'https://i' }),
      of('https://h/mcp', { resource: 'https://r' }),
      of('https://h/mcp', { type: 'token_exchange' }),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  it('is the same with another secret or other scopes', () => {
    const changed = of('https://h/mcp', { secrets: { client_secret: 'x' }, scopes: ['a'], clientAuth: 'post' });
    expect(changed).toBe(of('https://h/mcp', {}));
  });
});
