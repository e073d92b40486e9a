/**
 * The only file that knows every room: it builds them in the order in which they need each other, wires the corridors,
 * and takes everything down in reverse.
 */
import { randomUUID } from 'node:crypto';
import manifest from '../package.json' with { type: 'json' };
import { administrationCorridors } from './administration-corridors.ts';
import { bounds } from './config/bounds.ts';
import type { Config, Secrets } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import type { KnownToolOf } from './core/tool-class.ts';
import { createAdminister } from './gateway/administer.ts';
import { createAuthorizeAction } from './gateway/authorize-action.ts';
import { createCapabilityAdmin } from './gateway/capabilities.ts';
import { createExplainCall } from './gateway/explain-call.ts';
import { createReadEvents } from './gateway/read-events.ts';
import { createReadLog } from './gateway/read-log.ts';
import { createReadStats } from './gateway/read-stats.ts';
import { createRefuse } from './gateway/refusal.ts';
import { createReloadServers, type ReloadServers } from './gateway/reload-servers.ts';
import { createStreamEvents } from './gateway/stream-events.ts';
import { createSubmitEvents } from './gateway/submit-events.ts';
import { refuseWithoutRoom } from './http/admission.ts';
import { type ClientIpKey, createFactsOf } from './http/caller.ts';
import { InFlight } from './http/in-flight.ts';
import { createOriginAllowed } from './http/origin.ts';
import { registerRoutes } from './http/routes/index.ts';
import { createServer, listen, serverUrl } from './http/server.ts';
import { followTls, readTls } from './http/tls.ts';
import { countUnrecorded } from './http/unrecorded.ts';
import { routeUpgrades } from './http/ws.ts';
import { createServiceFetch } from './mcp/network/service-fetch.ts';
import { readToolRegistry } from './mcp/tool-registry.ts';
import { mcpCorridors } from './mcp-corridors.ts';
import { type Administration, openAdministration } from './open-administration.ts';
import { type Capabilities, openCapabilities } from './open-capabilities.ts';
import { type Delivery, openDelivery } from './open-delivery.ts';
import { type Identity, openIdentity, protectedResource } from './open-identity.ts';
import { type Limits, openLimits } from './open-limits.ts';
import { type OnStop, type OpenLog, openLog } from './open-log.ts';
import { openSharedSessions, type SharedSessions } from './open-shared-sessions.ts';
import { openToolRules, type ToolRules } from './open-tool-rules.ts';
import { type OpenToolServers, openToolServers } from './open-tool-servers.ts';
import { openUpstreamTokens, type UpstreamTokens } from './open-upstream-tokens.ts';
import { startUpkeep, type Upkeep } from './start-upkeep.ts';
import type { DatabaseAddress } from './storage/db.ts';
import { startEmbeddedPostgres } from './storage/embedded/start.ts';
import { readGatewayKey } from './storage/gateway-key.ts';
import { migrateOrCheck } from './storage/migrate.ts';
import { createRevocationStore } from './storage/revocations.ts';
import { createStatisticsReader } from './storage/rollups.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface GatewayOptions {
  readonly config: Config;
  readonly secrets: Secrets;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** Gives up a start that is under way. */
  readonly signal: AbortSignal;
}

export interface Gateway {
  readonly url: string;
  /** These are the tool servers of file and environment from now on. */
  readonly reloadServers: ReloadServers;
  /** Refuses new work, waits for what is in flight, and lets go of everything. */
  readonly stop: () => Promise<void>;
}

/** Resolves when the gateway listens and could commit a record. Throws with nothing left behind. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const closers: (() => Promise<void> | void)[] = [];
  // One that fails must not keep the others from being closed: a store left running would outlive us.
  const stop = async () => {
    const failures: unknown[] = [];
    for (const close of closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  };
  try {
    const built = await build(options, (close) => closers.push(close));
    return { ...built, stop };
  } catch (error) {
    // Why it could not start is what there is to say, whatever else goes wrong on the way out.
    await stop().catch(() => undefined);
    throw error;
  }
}

/** The gateway in the order in which its parts need each other. */
async function build(options: GatewayOptions, onStop: OnStop): Promise<Omit<Gateway, 'stop'>> {
  const { config, secrets, signal } = options;
  const startedAtMs = options.clock.monotonic();
  const isEmbedded = secrets.databaseUrl === undefined;

  const database = await openDatabase(options, onStop);
  await migrateOrCheck(database, 'write');
  signal.throwIfAborted();
  const log = await openLog(options, database, onStop);
  const upkeep = startUpkeep(options, log, onStop);
  // The embedded store has one gateway at a time: whatever is open was left by one that is gone.
  if (isEmbedded) await upkeep.reconciler.reconcile(0);
  const services = createServiceFetch({ connectTimeoutMs: bounds.forwardTimeoutMs });
  onStop(services.close);
  const { fetch } = services;
  const delivery = await openDelivery({ ...options, pool: log.readPool, recorder: log.recorder, isEmbedded, fetch });
  onStop(() => delivery.close());

  const capabilities = await openCapabilities(options, database);
  // Whoever watches by it is sent away at once.
  capabilities.feed.onRevoked(() => log.live.sessions.judgeAll());
  onStop(() => capabilities.close());
  const identity = await openIdentity(options, log.readPool, capabilities.verifier);
  onStop(() => identity.close());
  const knownTool = await readToolRegistry(config.toolRegistryFile);
  const { telemetry } = options;
  const administration = await openAdministration({ ...options, pool: log.readPool });
  onStop(() => administration.close());
  // Whoever watches by a key or a role that was taken away is sent away soon.
  for (const { onChanged } of [identity, administration.roles]) onChanged(() => log.live.sessions.reauthoriseAll());
  const secretOf = administration.vault.valueOf;
  const { changeLock } = administration;
  const rules = await openToolRules({ ...options, ...log, changeLock, assertRoom: delivery.assertRoom });
  onStop(() => rules.close());
  const { onListed } = rules;
  const readKeys = administration.vault.keys;
  const pool = log.readPool;
  const gatewayKey = await readGatewayKey(pool);
  const tokens = openUpstreamTokens({ ...options, pool, recorder: log.recorder, secretOf, readKeys, gatewayKey });
  onStop(() => tokens.close());
  const servers = await openToolServers({ ...options, pool, secretOf, tokens, onListed });
  onStop(() => servers.close());
  const { toolServers, registry } = servers;
  const instanceId = randomUUID();
  const sharedSessions = openSharedSessions({ ...options, pool, instanceId, gatewayKey });
  onStop(() => sharedSessions.close());
  void registry.warmUp(signal);
  const limits = await openLimits(options);
  onStop(limits.close);

  const parts = {
    startedAtMs,
    log,
    upkeep,
    delivery,
    capabilities,
    identity,
    administration,
    knownTool,
    limits,
    fetch,
  };
  const url = await serveHttp(options, { ...parts, ...servers, rules, tokens, instanceId, sharedSessions }, onStop);
  const { recorder } = delivery;
  return { url, reloadServers: createReloadServers({ toolServers, recorder, log: telemetry.log }) };
}

interface Parts {
  /** By the clock that only moves forward. */
  readonly startedAtMs: number;
  readonly instanceId: string;
  readonly log: OpenLog;
  readonly upkeep: Upkeep;
  readonly delivery: Delivery;
  readonly capabilities: Capabilities;
  readonly identity: Identity;
  readonly knownTool: KnownToolOf;
  readonly administration: Administration;
  readonly registry: OpenToolServers['registry'];
  readonly toolServers: OpenToolServers['toolServers'];
  readonly serverFor: OpenToolServers['serverFor'];
  readonly connectionChanged: OpenToolServers['connectionChanged'];
  readonly tokens: UpstreamTokens;
  readonly rules: ToolRules;
  readonly limits: Limits;
  readonly sharedSessions: SharedSessions;
  /** For the services beside the gateway. */
  readonly fetch: typeof fetch;
}

/** The server with its routes, listening. Resolves with its address. */
async function serveHttp(options: GatewayOptions, parts: Parts, onStop: OnStop): Promise<string> {
  const { config, secrets, telemetry } = options;
  let isShuttingDown = false;
  const tls = config.tls === undefined ? undefined : await readTls(config.tls);
  const app = await createServer({
    telemetry,
    region: config.region,
    development: config.mode === 'development',
    corsOrigins: config.corsOrigins,
    trustedProxies: config.trustedProxies,
    tls,
    isShuttingDown: () => isShuttingDown,
    protectedResource: protectedResource(config),
    failureOf: parts.limits.requests.failureOf,
    readVoucher: parts.sharedSessions.readVoucher,
  });
  const inFlight = new InFlight();
  inFlight.track(app, () => !isShuttingDown);
  const factsOf = createFactsOf(clientIpKey(config, secrets));
  countUnrecorded(app, parts.upkeep.summaries, factsOf);
  parts.limits.requests.guard(app);
  refuseWithoutRoom(app, parts.delivery.assertRoom);
  const served = corridors(options, parts);
  const { mcpClients } = served;
  for (const { onChanged } of [parts.identity, parts.administration.roles]) onChanged(mcpClients.reauthenticateAll);
  await registerRoutes(app, { ...aboutItself(options, parts), ...served, factsOf });

  onStop(async () => {
    isShuttingDown = true;
    // They would last for ever.
    await parts.log.live.sessions.close();
    parts.rules.waiters.release();
    mcpClients.quiesce();
    served.legacyConnections.quiesce();
    parts.sharedSessions.hangUp();
    const drained = await inFlight.drained(config.shutdownDrainMs);
    if (!drained) telemetry.log.warn('requests were still running when the time to drain was over');
    const closed = app.close();
    app.server.closeAllConnections();
    await closed;
    // Whoever was cut off is given up by now; what became of their calls is still to be recorded.
    await inFlight.drained(bounds.commitDeadlineMs);
    await mcpClients.close();
  });
  routeUpgrades(app);
  await listen(app, { port: config.port, host: config.bindHost });
  if (config.tls !== undefined) onStop(followTls(app, config.tls, telemetry.log));
  const url = serverUrl(app.server, config.tls !== undefined);
  await parts.sharedSessions.listening(url);
  return url;
}

/** What the routes tell of the gateway. */
function aboutItself({ config, telemetry, clock }: GatewayOptions, parts: Parts) {
  const { startedAtMs, delivery, identity, limits, fetch } = parts;
  return {
    region: config.region,
    version: config.version ?? manifest.version,
    gitSha: config.gitSha,
    buildTime: config.buildTime,
    development: config.mode === 'development',
    instanceId: parts.instanceId,
    uptimeSeconds: () => (clock.monotonic() - startedAtMs) / 1000,
    nowSeconds: () => clock.now() / 1000,
    telemetry,
    clock,
    warn: (message: string) => telemetry.log.warn(message),
    ensureWritable: () => delivery.recorder.ensureWritable(),
    canAdmit: limits.canAdmit,
    replaysLastHour: identity.replaysLastHour,
    state: () => (telemetry.isLogFailing() ? ('DEGRADED' as const) : ('RUNNING' as const)),
    originAllowed: createOriginAllowed({
      corsOrigins: config.corsOrigins,
      development: config.mode === 'development',
    }),
    ollamaUrl: config.ollamaUrl,
    tgaUrl: config.tgaUrl,
    fetch,
  };
}

/** Who callers are, and every corridor with exactly what it needs. */
function corridors({ config, telemetry, clock }: GatewayOptions, parts: Parts) {
  const { log, upkeep, delivery, capabilities, identity, knownTool, registry } = parts;
  const { verifier } = capabilities;
  const { take } = parts.limits.limiter;
  const { recorder, readPool, events, tiles, checkpointer, checkpoints } = log;
  const { roles, changeLock } = parts.administration;
  const { policies } = parts.rules;
  const { requireCapability } = config;
  const policyMode = { development: config.mode === 'development', requireCapability, roles, policies };
  const refuse = createRefuse(delivery.recorder);
  const authorizeAction = createAuthorizeAction({ policyMode, refuse, take, telemetry });
  const administer = createAdminister({ authorizeAction, recorder: delivery.recorder, changeLock });
  const readEvents = createReadEvents({ authorizeAction, policyMode, events });
  const revocations = createRevocationStore(readPool);
  return {
    authenticate: identity.authenticate,
    ...identity.corridors({ authorizeAction, administer, policyMode, recorder: delivery.recorder }),
    capabilityCache: () => verifier.stats,
    ...administrationCorridors({ ...parts, authorizeAction, administer, policyMode, config, clock, telemetry }),
    capabilities: createCapabilityAdmin({
      ...capabilities,
      authorizeAction,
      policyMode,
      recorder: delivery.recorder,
      store: revocations,
      clock,
    }),
    explainCall: createExplainCall({
      authorizeAction,
      recorder: delivery.recorder,
      verifier,
      revocations,
      possessionFault: identity.possessionFault,
      registry,
      knownTool,
      pins: parts.rules.pins,
      policyMode,
    }),
    ...mcpCorridors({
      ...{ registry, knownTool, policyMode, take, recorder, refuse, verifier, identity, telemetry, clock, config },
      rules: parts.rules,
      serverFor: parts.serverFor,
      connectionChanged: parts.connectionChanged,
      tokens: parts.tokens,
      directory: parts.sharedSessions.directory,
      abandonIntent: upkeep.reconciler.abandon,
      vault: parts.administration.vault,
      pool: readPool,
      version: config.version ?? manifest.version,
    }),
    forwardSession: parts.sharedSessions.forwardSession,
    readEvents,
    readStats: createReadStats({ authorizeAction, policyMode, statistics: createStatisticsReader(readPool) }),
    readLog: createReadLog({
      authorizeAction,
      refuse,
      policyMode,
      readEvents,
      events,
      tiles,
      checkpointer,
      verifierKeys: checkpoints.signers,
    }),
    streams: log.live.streams,
    sessions: log.live.sessions,
    messagesAs: parts.limits.requests.messagesAs,
    streamEvents: createStreamEvents({
      authorizeAction,
      policyMode,
      refuse,
      recorder: delivery.recorder,
      once: log.live.once,
      validity: ({ authority }) => (authority === undefined ? undefined : verifier.stillValid(authority)),
    }),
    submitEvents: createSubmitEvents({
      authorizeAction,
      submit: delivery.submit,
      erasable: new Set(config.auditErasable),
    }),
  };
}

/** The configured database, or the embedded one. */
async function openDatabase(options: GatewayOptions, onStop: OnStop): Promise<DatabaseAddress> {
  const { config, secrets, telemetry, clock, signal } = options;
  if (secrets.databaseUrl !== undefined) return { url: secrets.databaseUrl.reveal() };
  const embedded = await startEmbeddedPostgres({
    dataDir: config.dataDir,
    log: (level, message) => telemetry.log[level](message),
    clock,
    signal,
  });
  onStop(() => embedded.stop());
  return embedded.connection;
}

function clientIpKey(config: Config, secrets: Secrets): ClientIpKey | undefined {
  if (secrets.auditIpHmacKey === undefined || config.auditIpHmacKeyId === undefined) return undefined;
  return { key: secrets.auditIpHmacKey.reveal(), keyId: config.auditIpHmacKeyId };
}
