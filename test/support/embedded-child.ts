/**
 * A process that runs the embedded store, for tests that kill it or run it as another user. Prints one JSON line when
 * the server is ready, `{"connection": …}`, or one that says why it is not, `{"reason": …, "message": …}`. Stops cleanly on
 * SIGTERM, and exits without stopping on SIGUSR2.
 */
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/core/clock.ts';
import { EmbeddedPostgresError } from '../../src/storage/embedded/failure.ts';
import { startEmbeddedPostgres } from '../../src/storage/embedded/start.ts';

const { values } = parseArgs({
  options: { data: { type: 'string' }, package: { type: 'string' }, system: { type: 'string' } },
});

const tell = (line: object): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

try {
  const server = await startEmbeddedPostgres({
    dataDir: values.data ?? '',
    clock: systemClock,
    log: (level, message) => process.stderr.write(`${level} ${message}\n`),
    ...(values.package === undefined ? {} : { packageDir: values.package }),
    ...(values.system === undefined ? {} : { systemDir: values.system }),
  });
  process.once('SIGTERM', () => void server.stop().then(() => tell({ stopped: true })));
  process.once('SIGUSR2', () => process.exit(3));
  tell({ connection: server.connection });
} catch (error) {
  const reason = error instanceof EmbeddedPostgresError ? error.reason : 'thrown';
  tell({ reason, message: error instanceof Error ? error.message : String(error) });
}
