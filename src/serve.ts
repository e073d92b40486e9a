/** One gateway process from its start to its end: configuration, signals, exit code. */
import { isDeepStrictEqual } from 'node:util';
import { type Gateway, type GatewayOptions, startGateway } from './app.ts';
import { type Config, loadConfig } from './config/config.ts';
import { ConfigError } from './config/config-error.ts';
import { readEnvironment } from './config/env.ts';
import { systemClock } from './core/clock.ts';
import { describeError } from './core/errors.ts';
import { createTelemetry, type Log, type Telemetry } from './telemetry/telemetry.ts';

/** Resolves with the exit code when the gateway has ended: 0 after a signal, 1 for a failure, 2 for bad settings. */
export async function serve(): Promise<number> {
  const stopping = new AbortController();
  // A second signal changes nothing: npm passes on what the terminal has already sent, and the time to drain is bounded.
  const onSignal = () => stopping.abort(new Error('told to stop'));
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  // In a terminal it says that the terminal is gone; elsewhere that the configuration is to be read again, which there is
  // no need for before the start.
  process.on('SIGHUP', process.stdout.isTTY ? onSignal : ignoreSignal);

  let telemetry: Telemetry | undefined;
  try {
    const { config, secrets, warnings } = loadConfig({ env: readEnvironment(), cwd: process.cwd() });
    telemetry = createTelemetry({ level: config.logLevel });
    const { log } = telemetry;
    for (const warning of warnings) log.warn(warning);
    if (config.mode === 'development') log.warn('development mode: callers without a credential are let through');
    const gateway = await start({ config, secrets, telemetry, clock: systemClock, signal: stopping.signal });
    log.info({ url: gateway.url, mode: config.mode, servers: config.servers.length }, `ready: ${gateway.url}`);
    if (!process.stdout.isTTY) process.on('SIGHUP', () => void reload(gateway, config, log));
    await aborted(stopping.signal);
    log.info('shutting down: finishing what is in flight');
    await gateway.stop().catch((error) => {
      throw new Error('the gateway could not stop cleanly', { cause: error });
    });
    log.info('stopped');
    return 0;
  } catch (error) {
    if (error === stopping.signal.reason) return 0;
    report(error, telemetry);
    return error instanceof ConfigError ? error.exitCode : 1;
  }
}

/** Reads the configuration again, of which only the tool servers change in a running gateway. One that is not sound changes nothing. */
async function reload(gateway: Gateway, before: Config, log: Log): Promise<void> {
  try {
    const { config } = loadConfig({ env: readEnvironment(), cwd: process.cwd() });
    const { added, changed, removed } = await gateway.reloadServers(config.servers);
    log.info({ added, changed, removed }, 'the configuration was read again');
    const names = (Object.keys(config) as (keyof Config)[]).filter((name) => name !== 'servers');
    const others = names.filter((name) => !isDeepStrictEqual(config[name], before[name]));
    if (others.length > 0)
      log.warn({ settings: others }, 'other settings changed too, and only a restart applies them');
  } catch (error) {
    const problems = error instanceof ConfigError ? error.problems : [describeError(error)];
    log.error({ problems }, 'the configuration is not sound, so it stays as it was');
  }
}

async function start(options: GatewayOptions): Promise<Gateway> {
  try {
    return await startGateway(options);
  } catch (error) {
    // Told to stop while it was starting: that is no failure.
    options.signal.throwIfAborted();
    throw new Error('the gateway could not start', { cause: error });
  }
}

function ignoreSignal(): void {}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function report(error: unknown, telemetry: Telemetry | undefined): void {
  if (telemetry !== undefined) telemetry.log.fatal(describeError(error));
  else if (error instanceof ConfigError) for (const problem of error.problems) process.stderr.write(`${problem}\n`);
  else process.stderr.write(`${describeError(error)}\n`);
}
