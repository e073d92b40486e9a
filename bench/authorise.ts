/**
 * Authorisation in this process, on one core: from the text of a credential to the decision on a tool call. Once for a
 * capability that is remembered, once for the session that stands for it beside an API key, once for capabilities that are
 * new, whose signatures are verified on the thread pool, and once for new ones that were passed on three times.
 */
import { generateKeyPairSync } from 'node:crypto';
import { createApiKeys } from '../src/auth/api-keys.ts';
import { createAuthenticator } from '../src/auth/authenticate.ts';
import { Sessions } from '../src/auth/sessions.ts';
import { bounds } from '../src/config/bounds.ts';
import { Secret } from '../src/config/secret.ts';
import type { ApiKey } from '../src/core/api-key.ts';
import { delegateCapability, grantCapability } from '../src/core/capability-grant.ts';
import { systemClock } from '../src/core/clock.ts';
import { didKeyFromPublicKey, didSet } from '../src/core/did.ts';
import type { Authority } from '../src/policy/authority.ts';
import { CapabilityVerifier } from '../src/policy/capability-verifier.ts';
import { decideByName, decideCall } from '../src/policy/decide.ts';
import { createTelemetry } from '../src/telemetry/telemetry.ts';
import { withCleanup } from './lib/cleanup.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros } from './lib/proc.ts';
import { deliver } from './lib/report.ts';
import { type Contender, measureInTurns, named, type Turn } from './lib/rounds.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const issuer = didKeyFromPublicKey(publicKey);
const policyMode = { development: false, requireCapability: true };
const request = { server: 'bench', method: 'get_forecast' };
const tool = { class: 'unclassified', schemaHash: 'sha256:00', definitionHash: 'sha256:00' } as const;
const args = { city: 'Lisbon' };
const decisionsBetweenLooks = 1_000;
const verificationsAtOnce = 16;
const newTokens = 20_000;
const meter = 'this process';

const verifier = new CapabilityVerifier({ trustedIssuers: didSet([issuer]), clock: systemClock });
const notMeasured = () => Promise.reject(new Error('Nothing but capabilities is measured.'));
const authorityOf = (token: string) => verifier.authorityOf(token);
// Every key is this one, in a store that is asked once: what is measured is what comes after.
const apiKey: ApiKey = {
  ...{ id: 'bench', name: 'bench', principalId: 'bench-agent', teamId: 'default', permissions: [], hint: '' },
  ...{ createdAtMs: 0, createdBy: 'bench', expiresAtMs: undefined, revokedAtMs: undefined },
  ...{ replaces: undefined, lastUsedAtMs: undefined },
};
const apiKeys = createApiKeys({
  store: {
    find: async () => ({ apiKey, version: 1 }),
    version: async () => 1,
    touch: async () => undefined,
  },
  pepper: new Secret('a pepper that is as long as one should be'),
  clock: systemClock,
  log: createTelemetry({ level: 'error' }).log,
});
const authenticate = createAuthenticator<Authority>({
  mode: 'production',
  adminSecret: undefined,
  bearerCapabilities: true,
  apiKeys,
  adminTokens: undefined,
  oidc: undefined,
  attester: { verify: notMeasured, spend: notMeasured },
  attestationKeys: new Set(),
  authorityOf,
  stillValid: (authority) => verifier.stillValid(authority),
  sessions: new Sessions({
    entriesMax: bounds.sessionsMax,
    store: { put: async () => undefined, find: async () => undefined, take: async () => undefined },
    authorityOf,
    clock: systemClock,
  }),
  warn: () => undefined,
});

const options = readOptions();
await withCleanup(() => main(options).finally(() => apiKeys.close()));

async function main(options: BenchOptions): Promise<void> {
  const tokens = Array.from({ length: newTokens }, (_, n) => grant(`did:talos:agent-${n}`));
  const chains = passedOn(3, newTokens);
  const contenders = [
    remembered('remembered', grant('did:talos:bench-agent')),
    await inSession('session beside an API key', grant('did:talos:bench-agent')),
    remembered('remembered, passed on three times', passedOn(3, 1)[0] ?? ''),
    fresh('verified in full', tokens),
    fresh('verified in full, passed on three times', chains),
  ];
  const measurements = await measureInTurns(contenders, {
    seconds: options.seconds,
    meters: { [meter]: () => cpuMicros(process.pid) },
  });
  await deliver(
    {
      benchmark: 'authorise',
      command: `node bench/authorise.ts --seconds ${options.seconds}`,
      environment: {},
      sections: [{ title: 'Authorisation in process', unit: 'decisions', measurements, reference: 'remembered' }],
      facts: [],
      budgets: [
        {
          what: 'decisions on a remembered capability',
          unit: '/s a core',
          // By CPU time and not by the clock: others on the machine do not count.
          value: 1e6 / (named(measurements, 'remembered').cpuUs[meter] ?? Number.NaN),
          must: 500_000,
          aim: 1_000_000,
          better: 'more',
        },
      ],
    },
    options,
  );
}

function grant(subject: string, delegatable = false): string {
  const nowSec = Math.floor(systemClock.now() / 1000);
  return grantCapability({
    privateKey,
    issuer,
    subject,
    scope: 'tool:bench/method:get_forecast',
    nowSec,
    ttlSec: 3_600,
    delegatable,
  });
}

/** Capabilities that were passed on so often, each by a key of its own: the last link differs, the ones before it do not. */
function passedOn(times: number, count: number): string[] {
  const nowSec = Math.floor(systemClock.now() / 1000);
  let holder = generateKeyPairSync('ed25519');
  let parent = grant(didKeyFromPublicKey(holder.publicKey), true);
  for (let link = 1; link < times; link++) {
    const next = generateKeyPairSync('ed25519');
    const subject = didKeyFromPublicKey(next.publicKey);
    parent = delegateCapability({
      parent,
      subject,
      delegatable: true,
      privateKey: holder.privateKey,
      nowSec,
      ttlSec: 3_600,
    });
    holder = next;
  }
  return Array.from({ length: count }, (_, n) =>
    delegateCapability({
      parent,
      subject: `did:talos:agent-${n}`,
      privateKey: holder.privateKey,
      nowSec,
      ttlSec: 3_600,
    }),
  );
}

/** Everything that a tool call needs of authentication and policy. Throws when it is not allowed. */
async function decide(authorization: string, session?: string): Promise<void> {
  const caller = await authenticate({ authorization, capability: undefined, session }, 'bearer');
  const byName = decideByName(request, caller, policyMode);
  if (!byName.allow || !decideCall(byName, tool, args).allow) throw new Error('A good capability was refused.');
}

function remembered(name: string, token: string): Contender {
  const authorization = `Bearer ${token}`;
  return { name, run: (seconds) => repeat(seconds, decisionsBetweenLooks, () => decide(authorization)) };
}

/** A capability that was shown once, and then the id of its session beside the same API key. */
async function inSession(name: string, capability: string): Promise<Contender> {
  const authorization = `Bearer ${apiKeys.mint().key}`;
  const { sessionId } = await authenticate({ authorization, capability }, 'bearer');
  if (sessionId === undefined) throw new Error('No session was opened.');
  return { name, run: (seconds) => repeat(seconds, decisionsBetweenLooks, () => decide(authorization, sessionId)) };
}

/** More tokens than are remembered, so that each is forgotten before its turn comes again. */
function fresh(name: string, tokens: readonly string[]): Contender {
  let next = 0;
  const decideNext = () => decide(`Bearer ${tokens[next++ % tokens.length]}`);
  const several = async () => {
    await Promise.all(Array.from({ length: verificationsAtOnce }, decideNext));
  };
  return {
    name,
    run: async (seconds) => {
      const turn = await repeat(seconds, 1, several);
      return { ...turn, operations: turn.operations * verificationsAtOnce };
    },
  };
}

/** Does `work` one after another until the time is over, looking at the clock every `stride` times. */
async function repeat(seconds: number, stride: number, work: () => Promise<void>): Promise<Turn> {
  const startedAtMs = performance.now();
  const untilMs = startedAtMs + seconds * 1000;
  let operations = 0;
  while (performance.now() < untilMs) {
    for (let at = 0; at < stride; at++) await work();
    operations += stride;
  }
  return { operations, errors: 0, seconds: (performance.now() - startedAtMs) / 1000 };
}
