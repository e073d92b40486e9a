import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { cosignature, formatVerifierKey, parseVerifierKey } from '../../src/core/note-key.ts';
import { load, makeFolder, problemsOf, refusal, soundEnv } from './support.ts';

const development = { DEV_MODE: 'true' };

function without(...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(soundEnv).filter(([name]) => !names.includes(name)));
}

describe('production', () => {
  it('needs a tool server that is not switched off', () => {
    const sentence =
      'No tool server is configured: set MCP_SERVER_<ID>=<url>, list servers in talos.config.yaml, or set DEV_MODE=true.';
    expect(refusal(without('MCP_SERVER_GIT'))).toEqual([sentence]);
    const off = 'servers: {git: {url: "http://h", enabled: false}}';
    expect(refusal(without('MCP_SERVER_GIT'), off)).toEqual([sentence]);
    expect(load({ ...without('MCP_SERVER_GIT') }, off.replace('false', 'true')).config.servers).toHaveLength(1);
    expect(load(development).config.servers).toEqual([]);
  });

  it.each([
    ['a short pepper', { TALOS_API_KEY_PEPPER: 'x'.repeat(31) }, /^TALOS_API_KEY_PEPPER is too short for production/],
    [
      'an issuer without an audience',
      { TALOS_OIDC_ISSUER: 'https://i.example' },
      /^TALOS_OIDC_ISSUER needs the audience/,
    ],
    [
      'an audience without an issuer',
      { AUTH_ADMIN_AUDIENCE: 'a' },
      /^AUTH_ADMIN_AUDIENCE is of no use without an issuer/,
    ],
    ['keys without an issuer', { AUTH_ADMIN_JWKS_URL: 'https://i.example/keys' }, /^AUTH_ADMIN_JWKS_URL is of no use/],
    [
      'an issuer without TLS',
      { TALOS_OIDC_ISSUER: 'http://i.example', TALOS_OIDC_AUDIENCE: 'a' },
      /^TALOS_OIDC_ISSUER must be an https/,
    ],
    [
      'keys of an issuer without TLS',
      { TALOS_OIDC_ISSUER: 'https://i.example', TALOS_OIDC_AUDIENCE: 'a', TALOS_OIDC_JWKS_URL: 'http://i.example/k' },
      /^TALOS_OIDC_JWKS_URL must be an https/,
    ],
  ])('refuses %s', (_, env, sentence) => {
    expect(refusal({ ...soundEnv, ...env })).toEqual([expect.stringMatching(sentence)]);
  });

  it('does not complain of a missing server beside one that is refused', () => {
    expect(refusal({ ...without('MCP_SERVER_GIT'), MCP_SERVER_X: 'nowhere' })).toHaveLength(1);
  });

  it('needs an admin secret', () => {
    expect(refusal(without('AUTH_ADMIN_SECRET'))).toEqual([
      expect.stringMatching(/^AUTH_ADMIN_SECRET is missing, .*openssl rand/),
    ]);
    expect(load(development).secrets.adminSecret).toBeUndefined();
  });

  it.each([
    'change-me-in-prod',
    'CHANGE_ME_IN_PROD',
    'changeme-in-production',
    'please-change-me',
    'your-secret-key-here',
    '0123456789abcdef',
    'aaaaaaaaaaaaaaaaaaaaaaaa',
    'abababababababababab',
    'secret',
    'admin',
    'password',
    'changeme',
    '[secret]',
    'v5Kx1QeXb9rPz7L',
  ])('refuses %s as an admin secret, by either name, without showing it', (secret) => {
    for (const name of ['AUTH_ADMIN_SECRET', 'AUTH_SECRET', 'TALOS__AUTH_ADMIN_SECRET']) {
      const problems = refusal({ ...without('AUTH_ADMIN_SECRET'), [name]: secret });
      expect(problems).toEqual([
        expect.stringMatching(new RegExp(`^${name} is (too short|a placeholder that everybody knows): `)),
      ]);
      // "admin" and "secret" are words of the name as well.
      if (secret.length > 8) expect(problems.join()).not.toContain(secret);
    }
    expect(load({ ...development, AUTH_ADMIN_SECRET: secret }).warnings).toEqual([]);
  });

  it.each(['0.0.0.0', '::', '10.1.2.3', 'gateway.internal', '::ffff:127.0.0.1'])(
    'does not open %s to others without TLS',
    (host) => {
      expect(refusal({ ...soundEnv, TALOS_BIND_HOST: host })).toEqual([
        expect.stringMatching(/^TALOS_BIND_HOST is .*, which others can reach without TLS: set TALOS_TLS_CERT_FILE/),
      ]);
      expect(load({ ...soundEnv, TALOS_BIND_HOST: host, TALOS_TRUSTED_PROXIES: '10.0.0.1' }).config.bindHost).toBe(
        host,
      );
    },
  );

  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost', 'LocalHost'])(
    'opens %s, which only this machine reaches',
    (host) => {
      expect(load({ ...soundEnv, TALOS_BIND_HOST: host }).warnings).toEqual([]);
    },
  );

  it('cannot do without capabilities', () => {
    expect(refusal({ ...soundEnv, TALOS_REQUIRE_CAPABILITY: 'false' })).toEqual([
      expect.stringMatching(/^TALOS_REQUIRE_CAPABILITY cannot be false in production/),
    ]);
    expect(load({ ...soundEnv, TALOS_REQUIRE_CAPABILITY: 'true' }).config.requireCapability).toBe(true);
    expect(load(development).config.requireCapability).toBe(false);
    expect(load({ ...development, TALOS_REQUIRE_CAPABILITY: 'true' }).config.requireCapability).toBe(true);
  });

  it('warns when no issuer is trusted', () => {
    expect(load(without('TALOS_TRUSTED_ISSUERS')).warnings).toEqual([
      'TALOS_TRUSTED_ISSUERS is empty, so no capability is valid and every call is denied.',
    ]);
    expect(load(development).warnings).toEqual([]);
  });

  it('warns when users of a server could not connect, because the gateway does not know its address', () => {
    const file = (auth: string) => `servers: {git: {url: "https://h", auth: ${auth}}}`;
    const own = file('{type: oauth}');
    expect(load(without('MCP_SERVER_GIT'), own).warnings).toEqual([
      expect.stringMatching(/^Nobody can connect an account at git: .*without TALOS_PUBLIC_URL/),
    ]);
    const named = { ...without('MCP_SERVER_GIT'), TALOS_PUBLIC_URL: 'https://talos.example' };
    expect(load(named, own).warnings).toEqual([]);
    expect(load(without('MCP_SERVER_GIT'), file('{type: oauth, client_id: t}')).warnings).toEqual([]);
  });

  it('needs a long key for hashed addresses', () => {
    expect(refusal({ ...soundEnv, AUDIT_IP_HMAC_KEY: 'x'.repeat(31) })).toEqual([
      'AUDIT_IP_HMAC_KEY is too short for production: use at least 32 random characters.',
    ]);
    expect(load({ ...soundEnv, AUDIT_IP_HMAC_KEY: 'x'.repeat(32) }).config.auditIpHmacKeyId).toBe('default');
    expect(load({ ...development, AUDIT_IP_HMAC_KEY: 'short' }).warnings).toEqual([]);
  });
});

describe('development', () => {
  it.each(['0.0.0.0', '::', '192.168.1.2'])('warns loudly when %s lets others in', (host) => {
    expect(load({ ...development, TALOS_BIND_HOST: host }).warnings).toEqual([
      `DANGER: development mode on ${host}: whoever reaches this port may call every tool without a credential.`,
    ]);
  });
});

describe('in either mode', () => {
  it('a key id needs its key', () => {
    expect(refusal({ ...development, AUDIT_IP_HMAC_KEY_ID: 'k1' })).toEqual([
      'AUDIT_IP_HMAC_KEY_ID names a key that is not set: set AUDIT_IP_HMAC_KEY too.',
    ]);
  });

  it('TLS takes two readable files', () => {
    const cwd = makeFolder({ 'cert.pem': 'c', 'key.pem': 'k' });
    const attempt = (env: Record<string, string>) =>
      loadConfig({ env: { ...soundEnv, TALOS_BIND_HOST: '0.0.0.0', ...env }, cwd });
    const both = { TALOS_TLS_CERT_FILE: 'cert.pem', TALOS_TLS_KEY_FILE: join(cwd, 'key.pem') };
    expect(attempt(both).config.tls).toEqual({ certFile: join(cwd, 'cert.pem'), keyFile: join(cwd, 'key.pem') });

    const pair = 'TALOS_TLS_CERT_FILE and TALOS_TLS_KEY_FILE go together: set both or neither.';
    expect(problemsOf(() => attempt({ TALOS_TLS_CERT_FILE: 'cert.pem' }))).toEqual([pair]);
    expect(problemsOf(() => attempt({ TALOS_TLS_KEY_FILE: 'key.pem', TALOS_TRUSTED_PROXIES: '10.0.0.1' }))).toEqual([
      pair,
    ]);
    expect(problemsOf(() => attempt({ ...both, TALOS_TLS_KEY_FILE: 'gone.pem' }))).toEqual([
      `TALOS_TLS_KEY_FILE names a file that cannot be read: ${join(cwd, 'gone.pem')}.`,
    ]);
    expect(problemsOf(() => attempt({ ...both, TALOS_TLS_CERT_FILE: '.' }))).toEqual([
      `TALOS_TLS_CERT_FILE names a file that cannot be read: ${cwd}.`,
    ]);
  });

  it.skipIf(process.getuid?.() === 0)('TLS takes files that this user may read', () => {
    const cwd = makeFolder({ 'cert.pem': 'c', 'key.pem': 'k' });
    chmodSync(join(cwd, 'key.pem'), 0);
    const env = { ...soundEnv, TALOS_TLS_CERT_FILE: 'cert.pem', TALOS_TLS_KEY_FILE: 'key.pem' };
    expect(problemsOf(() => loadConfig({ env, cwd }))).toEqual([
      expect.stringMatching(/^TALOS_TLS_KEY_FILE names a file/),
    ]);
  });
});

describe('the key of the log', () => {
  it('comes from a file or from a command, not from both', () => {
    const both = { TALOS_LOG_KEY_FILE: 'log.key', TALOS_LOG_KEY_COMMAND: '["get-key"]' };
    expect(refusal({ ...development, ...both })).toEqual([
      'TALOS_LOG_KEY_FILE and TALOS_LOG_KEY_COMMAND both say where the key of the log is: keep one of them.',
    ]);
  });
});

describe('the witnesses', () => {
  const first = 'w.example/1+f88c992a+BDT16dZS22qpGiPpI663Az2aPc3+CXusa5tIj76h2yTr http://w.example';
  const second = 'w.example/2+dec3c4a0+BJM/Ac0XkbRTaEGb/2bqFdn1/yt2xwBcm0zYVVeAKOcZ http://w.example';
  const listed = (...witnesses: string[]) => ({ ...development, TALOS_LOG_WITNESSES: witnesses.join() });

  it('are at least as many as the quorum', () => {
    expect(load({ ...listed(first, second), TALOS_LOG_WITNESS_QUORUM: '2' }).config.logWitnessQuorum).toBe(2);
    expect(refusal({ ...listed(first, second), TALOS_LOG_WITNESS_QUORUM: '3' })).toEqual([
      'TALOS_LOG_WITNESS_QUORUM is 3, but there are 2 witnesses.',
    ]);
    expect(refusal({ ...development, TALOS_LOG_WITNESS_QUORUM: '1' })).toHaveLength(1);
  });

  it('are counted once, by name and by key', () => {
    const sentence = 'TALOS_LOG_WITNESSES lists a name or a key twice: each witness counts once.';
    expect(refusal(listed(first, first.replace('http:', 'https:')))).toEqual([sentence]);
    const { name, publicKey } = parseVerifierKey(first.split(' ')[0] ?? '');
    const renamed = formatVerifierKey(`${name}x`, publicKey, cosignature);
    expect(refusal(listed(first, `${renamed} http://w.example`))).toEqual([sentence]);
  });
});
