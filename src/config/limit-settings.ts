/** The settings of how often callers may come, and of the store that gateways share for it. */
import { formatRate, parseRate } from '../core/rate.ts';
import { surfaces } from '../core/surfaces.ts';
import { bounds } from './bounds.ts';
import { type Parser, parseBoolean, parseInteger, parseList } from './parse.ts';
import { Secret } from './secret.ts';
import { setting } from './setting.ts';

const parseCount = parseInteger(1, bounds.rateCountMax, 'a number of requests');

/** The address of a Redis or Valkey; what is refused is not quoted, because it may hold a password. */
const parseRedisUrl: Parser<Secret> = (raw) => {
  const text = typeof raw === 'string' ? raw : '';
  const fits = /^rediss?:\/\/\S+$/.test(text) && URL.canParse(text) && /^(\/\d{0,5})?$/.test(new URL(text).pathname);
  return fits
    ? { ok: true, value: new Secret(text) }
    : {
        ok: false,
        problem: 'must be a redis:// or rediss:// address; percent-encode special characters of the password',
      };
};

/** `<route> <rate>`, in one spelling. */
const parseRouteRate: Parser<string> = (raw) => {
  const [, surface = '', text = ''] = /^(\S+) +(.+)$/.exec(typeof raw === 'string' ? raw : '') ?? [];
  const rate = parseRate(text.trim());
  return rate !== undefined && Object.hasOwn(surfaces, surface)
    ? { ok: true, value: `${surface} ${formatRate(rate)}` }
    : { ok: false, problem: 'must list routes as "<surface> <rate>", such as "mcp.tools.call 20/second burst 40"' };
};

export const limitSettings = {
  rateLimit: setting<boolean | undefined>({
    env: ['TALOS_RATE_LIMIT', 'RATE_LIMIT_ENABLED'],
    file: ['rate_limit'],
    parse: parseBoolean,
    default: undefined,
    defaultText: 'true in production, false in development',
    meaning: 'Limit how often each address and each caller may come. What capabilities say of it holds in any case.',
  }),
  rateLimitIpRps: setting<number>({
    env: ['TALOS_RATE_LIMIT_IP_RPS'],
    file: ['rate_limit_ip_rps'],
    parse: parseCount,
    default: 50,
    meaning: 'Requests a second of one address; an IPv6 network of 64 bits is one.',
  }),
  rateLimitIpBurst: setting<number>({
    env: ['TALOS_RATE_LIMIT_IP_BURST'],
    file: ['rate_limit_ip_burst'],
    parse: parseCount,
    default: 100,
    meaning: 'How many of them may come at once, after a rest.',
  }),
  rateLimitKeyRps: setting<number>({
    env: ['TALOS_RATE_LIMIT_KEY_RPS', 'RATE_LIMIT_DEFAULT_RPS'],
    file: ['rate_limit_key_rps'],
    parse: parseCount,
    default: 100,
    meaning: 'Requests a second of one caller, from whatever address.',
  }),
  rateLimitKeyBurst: setting<number>({
    env: ['TALOS_RATE_LIMIT_KEY_BURST', 'RATE_LIMIT_DEFAULT_BURST'],
    file: ['rate_limit_key_burst'],
    parse: parseCount,
    default: 200,
    meaning: 'How many of them may come at once, after a rest.',
  }),
  rateLimitRoutes: setting<readonly string[]>({
    env: ['TALOS_RATE_LIMIT_ROUTES'],
    file: ['rate_limit_routes'],
    parse: parseList(parseRouteRate),
    default: [],
    meaning:
      'Routes where a caller has another limit, and is counted by itself: `<surface> <rate>`, such as `mcp.tools.call 20/second burst 40`. [limits.md](limits.md) tells the words.',
  }),
  redisUrl: setting<Secret | undefined>({
    env: ['REDIS_URL'],
    file: ['redis_url'],
    parse: parseRedisUrl,
    default: undefined,
    defaultText: 'none: each gateway counts by itself',
    secret: true,
    meaning:
      'Redis 5 or Valkey, as `redis://` or `rediss://` (TLS), that several gateways share their limits through. While it does not answer, production refuses requests and development counts in memory.',
  }),
};
