import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/config/secret.ts';
import { type SettingKey, settingList, settings } from '../../src/config/settings.ts';
import { load, refusal, trustedDid } from './support.ts';

const development = { DEV_MODE: 'true' };
const didKey = 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK';

const witnessKey = 'w.example/1+f88c992a+BDT16dZS22qpGiPpI663Az2aPc3+CXusa5tIj76h2yTr';
const otherWitnessKey = 'w.example/2+dec3c4a0+BJM/Ac0XkbRTaEGb/2bqFdn1/yt2xwBcm0zYVVeAKOcZ';

interface Cases {
  /** Raw text and the value it means. */
  readonly good: readonly (readonly [string, unknown])[];
  readonly bad: readonly string[];
}

const booleans: Cases = {
  good: [
    ['true', true],
    ['TRUE', true],
    ['1', true],
    ['yes', true],
    ['On', true],
    ['false', false],
    ['False', false],
    ['0', false],
    ['no', false],
    ['OFF', false],
    [' false ', false],
  ],
  bad: ['t', 'enabled', '2', '-1', 'truefalse', 'null', '{}', 'toString'],
};

const texts: Cases = { good: [['1.2.3-rc.1', '1.2.3-rc.1']], bad: ['two\nlines', 'bell\u0007', 'x'.repeat(257)] };

const urls: Cases = {
  good: [
    ['http://localhost:11434', 'http://localhost:11434'],
    ['https://h.example/a', 'https://h.example/a'],
  ],
  bad: ['localhost:11434', 'ftp://h', 'http://', 'http://u:p@h', 'http://u@h', 'http://h#f', '/path'],
};

const sizes: Cases = {
  good: [
    ['1', 1],
    ['80gb', 80_000_000_000],
    ['2 TiB', 2_199_023_255_552],
  ],
  bad: ['0', '80%', '80 g', '1,5GB', 'all', '-1', 'null'],
};

const counts: Cases = {
  good: [
    ['1', 1],
    ['1000000', 1_000_000],
  ],
  bad: ['0', '-1', '1000001', '1.5', '5/second', 'all'],
};

const cases: Readonly<Record<Exclude<SettingKey, 'tlsCertFile' | 'tlsKeyFile'>, Cases>> = {
  mode: {
    good: [
      ['true', 'development'],
      ['1', 'development'],
    ],
    bad: ['dev', 'maybe', 'tru', '[]'],
  },
  port: {
    good: [
      ['0', 0],
      ['8080', 8080],
      ['65535', 65_535],
    ],
    bad: ['65536', '-1', '80.5', '8e3', '0x50', 'http', '99999999999', '80 81'],
  },
  bindHost: {
    good: [
      ['127.0.0.1', '127.0.0.1'],
      ['::1', '::1'],
      ['0.0.0.0', '0.0.0.0'],
      ['localhost', 'localhost'],
      ['gw-1.internal', 'gw-1.internal'],
    ],
    bad: ['127.0.0.1:80', 'http://h', '1.2.3', '999.1.1.1', '-h', 'a b', '[::1]', '*', `${'a'.repeat(254)}`],
  },
  dataDir: { good: [['/var/lib/talos', '/var/lib/talos']], bad: ['a\0b'] },
  toolRegistryFile: { good: [['/etc/talos/tools.json', '/etc/talos/tools.json']], bad: ['a\0b'] },
  issuerKeyFile: { good: [['/etc/talos/issuer.pem', '/etc/talos/issuer.pem']], bad: ['a\0b'] },
  logKeyFile: { good: [['/etc/talos/log.key', '/etc/talos/log.key']], bad: ['a\0b'] },
  logOrigin: {
    good: [['gateway.example.com/audit', 'gateway.example.com/audit']],
    bad: ['two words', 'a+b', 'x'.repeat(201), 'a\nb'],
  },
  logKeyCommand: {
    good: [
      ['["get-key"]', ['get-key']],
      ['["/opt/kms", "get", "a b", ""]', ['/opt/kms', 'get', 'a b', '']],
    ],
    bad: ['get-key --name log', '[]', '[""]', '[1]', '{"a":1}', '"get-key"', '["a\\u0000b"]', '["a"', '[["a"]]'],
  },
  logWitnesses: {
    good: [
      [`${witnessKey} https://w.example/1`, [`${witnessKey} https://w.example/1`]],
      [
        `${witnessKey} http://h:1 , ${otherWitnessKey} http://h:2/x`,
        [`${witnessKey} http://h:1`, `${otherWitnessKey} http://h:2/x`],
      ],
    ],
    bad: [
      witnessKey,
      'https://w.example',
      `w1 ${witnessKey} https://w.example`,
      `${witnessKey} w.example`,
      `${witnessKey} https://u:p@w.example`,
      `${witnessKey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')} https://w.example`,
      // The key of a log is no witness's.
      'log.example+70932fef+ARfU7NIL2iXxctll7on+OsjVlFgAOLFbIp/cGgfq4mI7 https://w.example',
    ],
  },
  logWitnessQuorum: { good: [['1', 1]], bad: ['0', '-1', '33', 'all', '1.5'] },
  logAnchorFiles: { good: [['/mnt1/a,/mnt2/b', ['/mnt1/a', '/mnt2/b']]], bad: ['a\0b', 'a,b\0'] },
  logAnchorUrls: {
    good: [['https://a.example/x?k=v,http://b', ['https://a.example/x?k=v', 'http://b']]],
    bad: ['a.example', 'ftp://h', 'https://u:p@h', 'https://a.example,b'],
  },
  logAnchorIntervalSec: {
    good: [
      ['0', 0],
      ['3600', 3600],
    ],
    bad: ['-1', '86401', '1m', '0.5'],
  },
  auditOnFailure: {
    good: [
      ['fail_operation', 'fail_operation'],
      ['SPOOL', 'spool'],
      ['continue', 'continue'],
    ],
    bad: ['fail', 'true', 'spool,continue', 'constructor'],
  },
  auditSpoolDir: { good: [['/mnt-2/spool', '/mnt-2/spool']], bad: ['a\0b'] },
  auditSpoolSize: {
    good: [
      ['1048576', 1_048_576],
      ['512MiB', 536_870_912],
      ['20 GB', 20_000_000_000],
    ],
    bad: ['1048575', '1.5GiB', '-1GiB', '1GiBs', 'GiB', '1e9', '0x100000', '9999999TiB', 'unlimited'],
  },
  auditUrl: urls,
  apiKeyPepper: { good: [['v5Kx1QeXb9rPz7Lm', 'v5Kx1QeXb9rPz7Lm']], bad: [' v5Kx1QeXb9rPz7Lm', 'v5Kx1QeXb9rPz7Lm\n'] },
  attestationKeys: {
    good: [[`${didKey},${trustedDid}`, [didKey, trustedDid]]],
    bad: ['did:web:example.com', 'did:talos:00', '*', 'agent-1'],
  },
  oidcIssuer: urls,
  oidcAudience: texts,
  oidcJwksUrl: urls,
  oidcAlgorithms: {
    good: [
      ['rs256', ['RS256']],
      ['ES512, EdDSA,ES512', ['ES512', 'EdDSA']],
    ],
    bad: ['HS256', 'none', 'RS256 ES256', 'dir', 'constructor', 'RS256,HS512'],
  },
  oidcPrincipalClaim: texts,
  oidcTeamClaim: texts,
  oidcPermissionsClaim: texts,
  publicUrl: urls,
  advertiseUrl: {
    good: [
      ['http://10.0.0.7:8000', 'http://10.0.0.7:8000'],
      ['http://127.0.0.1:0', 'http://127.0.0.1:0'],
      ['https://[fd00::7]:8443', 'https://[fd00::7]:8443'],
    ],
    bad: [
      '10.0.0.7:8000',
      'ftp://h',
      'http://h/',
      'http://h/a',
      'http://u@h',
      'http://u:p@h',
      'http://h:80',
      'http://h?a',
    ],
  },
  storeSizeWarn: sizes,
  storeSizeStop: sizes,
  auditRetentionDays: {
    good: [
      ['1', 1],
      ['36500', 36_500],
    ],
    bad: ['0', '36501', '1.5', '30d', '-1', 'never'],
  },
  auditErasable: {
    good: [
      ['email', ['email']],
      ['email, full_name,email', ['email', 'full_name']],
    ],
    bad: ['session_id', 'error', 'two words', '__proto__', 'ü', '*', 'x'.repeat(65)],
  },
  databaseUrl: {
    good: [
      ['postgres://h/db', 'postgres://h/db'],
      ['postgresql://u:p%40@h:5433/db?sslmode=require', 'postgresql://u:p%40@h:5433/db?sslmode=require'],
      ['postgresql://u@/db?host=/run/postgresql', 'postgresql://u@/db?host=/run/postgresql'],
      ['postgresql:///db', 'postgresql:///db'],
    ],
    bad: [
      'mysql://h/db',
      'h/db',
      'postgresql+asyncpg://h/db',
      'postgres://h:port/db',
      'postgres://u:a b@h/db',
      '[secret]',
    ],
  },
  secretsKey: {
    good: [
      ['11'.repeat(32), '11'.repeat(32)],
      [`a:${'11'.repeat(32)},b:${'22'.repeat(32)}`, `a:${'11'.repeat(32)},b:${'22'.repeat(32)}`],
    ],
    bad: ['short', '11'.repeat(31), `a:${'11'.repeat(32)},a:${'22'.repeat(32)}`, `:${'11'.repeat(32)}`],
  },
  managedStdioServers: booleans,
  approvalWaitSec: {
    good: [
      ['0', 0],
      ['60', 60],
    ],
    bad: ['-1', '61', 'soon', '1.5'],
  },
  approvalTtlSec: {
    good: [
      ['1', 1],
      ['86400', 86_400],
    ],
    bad: ['0', '86401', '1h'],
  },
  secretsKeyFile: { good: [['/etc/talos/secrets.key', '/etc/talos/secrets.key']], bad: ['a\0b'] },
  trustedIssuers: {
    good: [
      [trustedDid, [trustedDid]],
      [`${didKey} , ${trustedDid},${didKey},`, [didKey, trustedDid]],
    ],
    bad: [
      'did:web:example.com',
      'did:talos:00',
      `${didKey}x`,
      `${trustedDid} ${didKey}`,
      trustedDid.toUpperCase(),
      '*',
    ],
  },
  rateLimit: booleans,
  rateLimitIpRps: counts,
  rateLimitIpBurst: counts,
  rateLimitKeyRps: counts,
  rateLimitKeyBurst: counts,
  rateLimitRoutes: {
    good: [
      ['mcp.tools.call 20/second burst 40', ['mcp.tools.call 20/second burst 40']],
      ['mcp.tools.call  5/hour,events.submit 1/day', ['mcp.tools.call 5/hour burst 5', 'events.submit 1/day burst 1']],
    ],
    bad: [
      'mcp.tools.call',
      '20/second',
      'mcp.tools 20/second',
      'mcp.tools.call 20',
      'constructor 1/day',
      'mcp.tools.call=1/day',
    ],
  },
  redisUrl: {
    good: [
      ['redis://h', 'redis://h'],
      ['rediss://u:p%40@h:6380/3', 'rediss://u:p%40@h:6380/3'],
    ],
    bad: ['h:6379', 'http://h', 'redis://', 'redis://h:port', 'redis://u:a b@h', 'redis://h/name', 'redis://h/1/2'],
  },
  requireCapability: booleans,
  bearerCapabilities: booleans,
  adminSecret: { good: [['v5Kx1QeXb9rPz7Lm', 'v5Kx1QeXb9rPz7Lm']], bad: [' v5Kx1QeXb9rPz7Lm', 'v5Kx1QeXb9rPz7Lm\n'] },
  corsOrigins: {
    good: [
      ['https://a.example', ['https://a.example']],
      ['http://localhost:3000, https://b.example:8443', ['http://localhost:3000', 'https://b.example:8443']],
    ],
    bad: [
      '*',
      'https://*.example',
      'https://a.example/',
      'https://a.example/x',
      'a.example',
      'null',
      'https://A.example',
      'ws://a',
    ],
  },
  trustedProxies: {
    good: [
      ['10.0.0.1', ['10.0.0.1']],
      ['10.0.0.0/8,fd00::/8, ::1', ['10.0.0.0/8', 'fd00::/8', '::1']],
    ],
    bad: [
      '0.0.0.0/0',
      '::/0',
      '10.0.0.0/33',
      'fd00::/129',
      '10.0.0.0/',
      '10.0.0.0/-1',
      '10.0.0',
      'proxy',
      'fe80::1%eth0',
      '*',
    ],
  },
  shutdownDrainSec: {
    good: [
      ['1', 1],
      ['300', 300],
    ],
    bad: ['0', '301', '1.5', '30s', '-1', 'never'],
  },
  auditIpHmacKey: { good: [['k', 'k']], bad: ['k ', '\tk'] },
  auditIpHmacKeyId: { good: [['2026-01', '2026-01']], bad: ['-x', 'a b', 'ü', 'x'.repeat(64)] },
  logLevel: {
    good: [
      ['debug', 'debug'],
      ['WARNING', 'warn'],
      ['CRITICAL', 'fatal'],
      ['silent', 'silent'],
    ],
    bad: ['verbose', '3', 'constructor'],
  },
  region: { good: [['eu-central-1', 'eu-central-1']], bad: ['eu central', '-eu', 'a/b', 'x'.repeat(64)] },
  version: texts,
  gitSha: texts,
  buildTime: texts,
  ollamaUrl: urls,
  tgaUrl: urls,
};

const caseList = Object.entries(cases) as [keyof typeof cases, Cases][];

/** What else must be set so that this setting alone decides. */
function around(key: SettingKey): Readonly<Record<string, string>> {
  if (key === 'mode') return {};
  if (key === 'logWitnessQuorum') return { ...development, TALOS_LOG_WITNESSES: `${witnessKey} http://w.example` };
  if (key === 'oidcIssuer') return { ...development, TALOS_OIDC_AUDIENCE: 'a' };
  if (key === 'oidcAudience') return { ...development, TALOS_OIDC_ISSUER: 'http://i.example' };
  if (key === 'oidcJwksUrl') return { ...around('oidcAudience'), TALOS_OIDC_AUDIENCE: 'a' };
  return key === 'auditIpHmacKeyId' ? { ...development, AUDIT_IP_HMAC_KEY: 'k' } : development;
}

function plain(value: unknown): unknown {
  return value instanceof Secret ? value.reveal() : value;
}

function nameOf(key: SettingKey): string {
  return settings[key].env[0] ?? '';
}

describe('every setting', () => {
  it('has cases here, or tests of its own', () => {
    expect([...Object.keys(cases), 'tlsCertFile', 'tlsKeyFile'].sort()).toEqual(Object.keys(settings).sort());
  });

  it.each(caseList.flatMap(([key, { good }]) => good.map(([raw, value]) => [nameOf(key), raw, key, value] as const)))(
    '%s accepts %j',
    (name, raw, key, value) => {
      const loaded = load({ ...around(key), [name]: raw });
      expect(plain(loaded.effective[key])).toEqual(value);
      expect(loaded.sources.settings[key]).toEqual({ layer: 'env', name });
    },
  );

  it.each(caseList.flatMap(([key, { bad }]) => bad.map((raw) => [nameOf(key), raw, key] as const)))(
    '%s refuses %j with one sentence that begins with its name',
    (name, raw, key) => {
      const problems = refusal({ ...around(key), [name]: raw });
      expect(problems).toEqual([expect.stringMatching(new RegExp(`^${name} must .*\\.$`, 's'))]);
    },
  );

  it.each(caseList.flatMap(([key, { bad }]) => bad.map((raw) => [settings[key].file[0], raw, key] as const)))(
    'the file key %s refuses %j',
    (fileKey, raw, key) => {
      // A control character has to be escaped to reach the parser; JSON is YAML.
      const [problem] = refusal(
        around(key),
        key === 'mode' ? `dev_mode: ${JSON.stringify(raw)}` : `${fileKey}: ${JSON.stringify(raw)}`,
      );
      expect(problem).toMatch(
        key === 'mode' ? /^dev_mode in .* must / : new RegExp(`^${fileKey} in .*talos.config.yaml must `),
      );
    },
  );

  it.each(settingList.map(([key, { env }]) => [key, env] as const))(
    '%s counts an empty variable as absent',
    (key, env) => {
      const names = Object.fromEntries(env.map((name) => [name, '']));
      const loaded = load({ TALOS__DEV_MODE: 'true', ...names });
      expect(loaded.sources.settings[key].layer).toBe(key === 'mode' ? 'env' : 'default');
    },
  );
});

describe('trusted proxies', () => {
  it.each(['0.0.0.0/0', '::/0', '10.0.0.1/0', '10.0.0.1/00'])('are never everybody: %s', (block) => {
    expect(refusal({ ...development, TALOS_TRUSTED_PROXIES: block })).toEqual([
      `TALOS_TRUSTED_PROXIES must not trust every address ("${block}").`,
    ]);
  });
});

describe('values of the file', () => {
  it('are taken in their own types', () => {
    const { config } = load(
      development,
      'port: 9000\nbearer_capabilities: false\ncors_origins: [https://a.example]\nshutdown_drain_timeout_seconds: 5\n',
    );
    expect(config).toMatchObject({ port: 9000, bearerCapabilities: false, shutdownDrainMs: 5000 });
    expect(config.corsOrigins).toEqual(['https://a.example']);
  });

  it.each([
    ['version: 1.10', /must be text: put it into quotes/],
    ['git_sha: 1234567', /must be text: put it into quotes/],
    ['auth_admin_secret: 12345678901234567890', /must be text: put it into quotes/],
    ['cors_origins: 5', /must be a list/],
    ['cors_origins: {a: b}', /must be a list/],
    ['trusted_proxies: [10.0.0.1, 5]', /must list IP addresses/],
    ['port: [80]', /must be a port number/],
    ['port: 80.5', /must be a port number/],
    ['bearer_capabilities: {}', /must be true or false/],
    ['data_dir: 5', /must be a path/],
    ['mode: 1', /must be one of/],
  ])('refuses %s', (yaml, sentence) => {
    expect(refusal(development, yaml)).toEqual([expect.stringMatching(sentence)]);
  });

  it('are bounded in number', () => {
    const origins = Array.from({ length: 1001 }, (_, at) => `https://h${at}.example`).join();
    expect(refusal({ ...development, TALOS_CORS_ORIGINS: origins })).toEqual([
      'TALOS_CORS_ORIGINS must have at most 1000 entries.',
    ]);
  });
});

describe('the mode', () => {
  it.each([
    [{ MODE: 'dev' }, 'development'],
    [{ MODE: 'Development' }, 'development'],
    [{ MODE: 'prod' }, 'production'],
    [{ MODE: 'production' }, 'production'],
    [{ TALOS_ENV: 'local' }, 'development'],
    [{ TALOS_ENV: 'dev' }, 'development'],
    [{ TALOS_ENV: 'test' }, 'production'],
    [{ TALOS_ENV: 'prod' }, 'production'],
    [{ TALOS__DEV_MODE: 'true' }, 'development'],
    [{ TALOS__DEV_MODE: 'false' }, 'production'],
    [{ TALOS__MODE: 'production' }, 'production'],
    [{ TALOS__GLOBAL__ENV: 'dev' }, 'development'],
    [{ DEV_MODE: 'true', MODE: 'dev', TALOS_ENV: 'local' }, 'development'],
    [{ DEV_MODE: 'false', MODE: 'prod' }, 'production'],
    [{}, 'production'],
  ])('%j means %s', (env, mode) => {
    const sound = { AUTH_ADMIN_SECRET: 'v5Kx1QeXb9rPz7Lm', MCP_SERVER_GIT: 'http://h' };
    expect(load({ ...sound, ...env }).config.mode).toBe(mode);
  });

  it.each([
    [{ MODE: 'true' }],
    [{ MODE: 'local' }],
    [{ MODE: 'staging' }],
    [{ TALOS_ENV: 'staging' }],
    [{ TALOS__DEV_MODE: 'maybe' }],
    [{ TALOS__GLOBAL__ENV: 'true' }],
  ])('%j is refused, and no rule of either mode is applied to a guess', (env) => {
    expect(refusal(env)).toEqual([expect.stringMatching(/ must be /)]);
  });

  it.each([
    [{ DEV_MODE: 'false', MODE: 'dev' }],
    [{ DEV_MODE: 'true', TALOS_ENV: 'prod' }],
    [{ DEV_MODE: 'true', TALOS_ENV: 'test' }],
    [{ MODE: 'production', TALOS_ENV: 'local' }],
    [{ DEV_MODE: 'true', TALOS__DEV_MODE: 'false' }],
  ])('%j contradicts itself', (env) => {
    expect(refusal(env)).toEqual([expect.stringMatching(/^\w+ and \w+ contradict each other: /)]);
  });

  it('is not guessed from a file that contradicts itself', () => {
    expect(refusal({}, 'dev_mode: true\nmode: production\n')).toEqual([expect.stringMatching(/contradict each other/)]);
  });
});
