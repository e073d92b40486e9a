/**
 * The only file that knows every room: it builds them in the order in which they need each other, wires the corridors,
 * and takes everything down in reverse.
 */
import { randomUUID } from 'node:crypto';
import manifest from '../package.json' with { type: 'json' };
import { recordWhileSound } from './audit/checkpointer-recorder.ts';
import { startReconciler } from './audit/reconciler.ts';
import { createRecorder } from './audit/recorder.ts';
import { startReservationPruner } from './audit/reservation-pruner.ts';
import { startMaintenance } from './audit/retention.ts';
import { startSummaries } from './audit/summaries.ts';
import { createAuthenticator } from './auth/authenticate.ts';
import { bounds } from './config/bounds.ts';
import type { Config, Secrets } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { didSet } from './core/did.ts';
import type { ToolClassOf } from './core/tool-class.ts';
import { createAuthorizeAction } from './gateway/authorize-action.ts';
import { createCallTool } from './gateway/call-tool.ts';
import { createListTools } from './gateway/list-tools.ts';
import { createReadEvents } from './gateway/read-events.ts';
import { createReadLog } from './gateway/read-log.ts';
import { createReadStats } from './gateway/read-stats.ts';
import { createRefuse } from './gateway/refusal.ts';
import { createSubmitEvents } from './gateway/submit-events.ts';
import { refuseWithoutRoom } from './http/admission.ts';
import { type ClientIpKey, createFactsOf } from './http/caller.ts';
import { InFlight } from './http/in-flight.ts';
import { registerRoutes } from './http/routes/index.ts';
import { createServer, listen, serverUrl } from './http/server.ts';
import { followTls, readTls } from './http/tls.ts';
import { countUnrecorded } from './http/unrecorded.ts';
import { createRegistry, type Registry } from './mcp/registry.ts';
import { readToolRegistry } from './mcp/tool-registry.ts';
import { openCheckpointer } from './open-checkpointer.ts';
import { type Delivery, openDelivery } from './open-delivery.ts';
import { CapabilityVerifier } from './policy/capability-verifier.ts';
import { createCheckpointStore } from './storage/checkpoints.ts';
import { type DatabaseAddress, openReadPool } from './storage/db.ts';
import { startEmbeddedPostgres } from './storage/embedded/start.ts';
import { createEventReader } from './storage/events.ts';
import { createIntentStore } from './storage/intents.ts';
import { createLogWriter } from './storage/log.ts';
import { migrate } from './storage/migrate.ts';
import { createPartitionStore } from './storage/partitions.ts';
import { pruneReservations } from './storage/reservations.ts';
import { createStatisticsReader } from './storage/rollups.ts';
import { createTileReader } from './storage/tiles.ts';
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
    const url = await build(options, (close) => closers.push(close));
    return { url, stop };
  } catch (error) {
    // Why it could not start is what there is to say, whatever else goes wrong on the way out.
    await stop().catch(() => undefined);
    throw error;
  }
}

type OnStop = (close: () => Promise<void> | void) => void;

/** The gateway in the order in which its parts need each other. Resolves with its address. */
async function build(options: GatewayOptions, onStop: OnStop): Promise<string> {
  const { config, secrets, signal } = options;
  const startedAtMs = options.clock.monotonic();
  const isEmbedded = secrets.databaseUrl === undefined;

  const database = await openDatabase(options, onStop);
  await migrate(database);
  signal.throwIfAborted();
  const log = await openLog(options, database, onStop);
  const upkeep = startUpkeep(options, log, onStop);
  // The embedded store has one gateway at a time: whatever is open was left by one that is gone.
  if (isEmbedded) await upkeep.reconciler.reconcile(0);
  const delivery = await openDelivery({ ...options, pool: log.readPool, recorder: log.recorder, isEmbedded, fetch });
  onStop(() => delivery.close());

  const toolClass = await readToolRegistry(config.toolRegistryFile);
  const registry = createRegistry(config.servers, { clock: options.clock, log: options.telemetry.log });
  onStop(() => registry.close());
  void registry.warmUp(signal);

  return await serveHttp(options, { startedAtMs, log, upkeep, delivery, toolClass, registry }, onStop);
}

type OpenLog = Awaited<ReturnType<typeof openLog>>;

/** What reads and writes the log. Throws unless it continues what was signed and takes a record. */
async function openLog(options: GatewayOptions, database: DatabaseAddress, onStop: OnStop) {
  const { telemetry, clock } = options;
  const readPool = openReadPool(database);
  onStop(() => readPool.end());
  const tiles = createTileReader(readPool);
  const checkpoints = createCheckpointStore(readPool);
  const checkpointer = await openCheckpointer({ ...options, store: checkpoints, tiles });
  onStop(() => checkpointer.close());
  const writer = createLogWriter(database, {
    onZombieEnded: () => telemetry.log.warn('ended the connection of a gateway that stood still while it held the log'),
  });
  const recorder = recordWhileSound(
    createRecorder({ writer, clock, telemetry, onCommitted: checkpointer.committed }),
    checkpointer.assertSound,
  );
  onStop(() => recorder.close());
  await recorder.ensureWritable();
  const { writerId } = writer;
  return {
    database,
    readPool,
    events: createEventReader(readPool),
    tiles,
    checkpoints,
    checkpointer,
    writerId,
    recorder,
  };
}

type Upkeep = ReturnType<typeof startUpkeep>;

/** What the log needs from time to time, whoever calls. */
function startUpkeep({ config, clock, telemetry }: GatewayOptions, log: OpenLog, onStop: OnStop) {
  const { database, readPool, tiles, recorder, writerId } = log;
  const maintenance = startMaintenance({
    partitions: createPartitionStore(readPool, database),
    nodes: tiles.nodes,
    record: recorder.record,
    requestId: randomUUID,
    retentionDays: config.auditRetentionDays,
    intervalMs: bounds.maintenanceIntervalMs,
    pruneIntervalMs: bounds.pruneIntervalMs,
    clock,
    telemetry,
  });
  onStop(() => maintenance.close());
  const summaries = startSummaries({ recorder, clock, bounds, log: telemetry.log });
  onStop(() => summaries.close());
  const reconciler = startReconciler({
    intents: createIntentStore(readPool),
    writerId,
    recorder,
    intervalMs: bounds.reconcileIntervalMs,
    silentMs: bounds.writerSilentMs,
    log: telemetry.log,
  });
  onStop(() => reconciler.close());
  const pruner = startReservationPruner({
    prune: () => pruneReservations(readPool),
    intervalMs: bounds.idempotencyPruneIntervalMs,
    log: telemetry.log,
  });
  onStop(() => pruner.close());
  return { summaries, reconciler };
}

interface Parts {
  /** By the clock that only moves forward. */
  readonly startedAtMs: number;
  readonly log: OpenLog;
  readonly upkeep: Upkeep;
  readonly delivery: Delivery;
  readonly toolClass: ToolClassOf;
  readonly registry: Registry;
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
  });
  const inFlight = new InFlight();
  inFlight.track(app, () => !isShuttingDown);
  const factsOf = createFactsOf(clientIpKey(config, secrets));
  countUnrecorded(app, parts.upkeep.summaries, factsOf);
  refuseWithoutRoom(app, parts.delivery.assertRoom);
  await registerRoutes(app, { ...aboutItself(options, parts), ...corridors(options, parts), factsOf });

  onStop(async () => {
    isShuttingDown = true;
    const drained = await inFlight.drained(config.shutdownDrainMs);
    if (!drained) telemetry.log.warn('requests were still running when the time to drain was over');
    const closed = app.close();
    app.server.closeAllConnections();
    await closed;
    // Whoever was cut off is given up by now; what became of their calls is still to be recorded.
    await inFlight.drained(bounds.commitDeadlineMs);
  });
  await listen(app, { port: config.port, host: config.bindHost });
  if (config.tls !== undefined) onStop(followTls(app, config.tls, telemetry.log));
  return serverUrl(app.server, config.tls !== undefined);
}

/** What the routes tell of the gateway. */
function aboutItself({ config, telemetry, clock }: GatewayOptions, { startedAtMs, delivery }: Parts) {
  return {
    region: config.region,
    version: config.version ?? manifest.version,
    gitSha: config.gitSha,
    buildTime: config.buildTime,
    development: config.mode === 'development',
    instanceId: randomUUID(),
    uptimeSeconds: () => (clock.monotonic() - startedAtMs) / 1000,
    nowSeconds: () => clock.now() / 1000,
    telemetry,
    warn: (message: string) => telemetry.log.warn(message),
    ensureWritable: () => delivery.recorder.ensureWritable(),
    state: () => (telemetry.isLogFailing() ? ('DEGRADED' as const) : ('RUNNING' as const)),
    ollamaUrl: config.ollamaUrl,
    tgaUrl: config.tgaUrl,
    fetch,
  };
}

/** Who callers are, and every corridor with exactly what it needs. */
function corridors({ config, secrets, telemetry, clock }: GatewayOptions, parts: Parts) {
  const { log, upkeep, delivery, toolClass, registry } = parts;
  const { recorder, readPool, events, tiles, checkpointer, checkpoints } = log;
  const policyMode = { development: config.mode === 'development', requireCapability: config.requireCapability };
  const verifier = new CapabilityVerifier({ trustedIssuers: didSet(config.trustedIssuers), clock });
  const refuse = createRefuse(delivery.recorder);
  const authorizeAction = createAuthorizeAction({ policyMode, refuse, telemetry });
  const readEvents = createReadEvents({ authorizeAction, events });
  const abandonIntent = upkeep.reconciler.abandon;
  return {
    authenticate: createAuthenticator({
      mode: config.mode,
      adminSecret: secrets.adminSecret,
      bearerCapabilities: config.bearerCapabilities,
      authorityOf: (token) => verifier.authorityOf(token),
    }),
    capabilityCache: () => verifier.stats,
    callTool: createCallTool({ registry, toolClass, policyMode, recorder, abandonIntent, telemetry, clock }),
    listTools: createListTools({ registry, policyMode, refuse, telemetry }),
    readEvents,
    readStats: createReadStats({ authorizeAction, statistics: createStatisticsReader(readPool) }),
    readLog: createReadLog({
      authorizeAction,
      refuse,
      readEvents,
      events,
      tiles,
      checkpointer,
      verifierKeys: checkpoints.signers,
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
