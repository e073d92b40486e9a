/** `talos tail`: prints what is recorded, as it happens, and goes on where it was after every break. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import {
  type LogStream,
  openStream,
  StreamError,
  type StreamItem,
  type StreamOptions,
  type StreamStatus,
} from '../../packages/stream-client/index.ts';
import { readEnvironment } from '../../src/config/env.ts';
import { decodeCursor } from '../../src/core/cursor.ts';
import { TalosError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { type FilterOptions, filterOf, filterOptions } from '../filter-options.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { tailLine } from '../tail-line.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options extends FilterOptions {
  readonly url?: readonly [string, ...string[]];
  readonly token?: string;
  readonly tokenFile?: string;
  readonly after?: string;
  readonly limit?: string;
  readonly json?: true;
  readonly verify?: true;
}

const exitCodeFailed = 1;
const defaultUrls = [gatewayUrlDefault] as const;
/** How often each gateway is tried before the first one answers. Later, a gateway is waited for. */
const firstAttemptsMax = 3;

export function tailCommand(program: Command): void {
  const command = program
    .command('tail')
    .description(
      'Print what is recorded, as it happens. Goes on after every break; ends with Ctrl-C. Exits with 1 when the gateway refuses or a record was altered.',
    )
    .option('--url <url...>', `gateways on the same database (default: ${defaultUrls[0]})`)
    .option('--token <capability>', 'a capability for tool:gateway/method:events.read (default: $TALOS_TOKEN)')
    .option('--token-file <file>', 'a file that holds it, read before every connection')
    .option('--after <cursor>', 'begin behind this record; without it, with what is recorded from now on')
    .option('--limit <n>', 'end after so many records')
    .option('--json', 'each record as JSON on a line of its own')
    .option('--verify', 'fetch each record and recompute its hash');
  filterOptions(command).action(reportingUsage(command, run));
}

async function run(options: Options): Promise<void> {
  const notices = new Notices();
  const stream = openStream({ ...streamOptions(options), onStatus: (status) => notices.show(status, stream) });
  const stop = () => stream.close();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  // Whoever reads has gone, as `head` does.
  process.stdout.on('error', stop);
  try {
    await printAll(stream, options, limitOf(options.limit));
    if (notices.neverAnswered) process.exitCode = exitCodeFailed;
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
    console.error(`error: ${error.code}: ${error.message}`);
    process.exitCode = exitCodeFailed;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
  if (stream.cursor !== '') console.error(`--after ${stream.cursor} goes on here.`);
}

async function printAll(stream: LogStream, { json }: Options, limit: number): Promise<void> {
  let records = 0;
  for await (const item of stream) {
    if (item.type === 'gap') {
      console.error('Records are gone here, because they were older than the gateway keeps them.');
      continue;
    }
    reportVerification(item);
    const line = json ? JSON.stringify(item.event) : tailLine(item.event as JsonObject, isColoured());
    // Called too when nobody reads any more.
    await new Promise<void>((resolve) => process.stdout.write(`${line}\n`, () => resolve()));
    if (++records >= limit) return;
  }
}

function isColoured(): boolean {
  return process.stdout.isTTY && (readEnvironment()['NO_COLOR'] ?? '') === '';
}

function reportVerification(item: StreamItem & { readonly type: 'event' }): void {
  const id = String(item.event['event_id']);
  if (item.verification === 'unavailable') console.error(`warning: the record ${id} cannot be read.`);
  if (item.verification !== 'altered') return;
  console.error(`ALTERED: the record ${id} does not have the hash that was told.`);
  process.exitCode = exitCodeFailed;
}

/** What the connection does, on stderr. */
class Notices {
  neverAnswered = true;

  show(status: StreamStatus, stream: LogStream): void {
    if (status.state === 'connected') {
      this.neverAnswered = false;
      console.error(`Watching ${status.url} (session ${status.sessionId}).`);
      return;
    }
    const { url, reason, retryInMs, attempt } = status;
    if (this.neverAnswered && attempt >= firstAttemptsMax) {
      console.error(`error: No gateway answers at ${url}; ./scripts/start.sh starts one.`);
      stream.close();
    } else {
      console.error(`${url}: ${reason} Trying again in ${(retryInMs / 1000).toFixed(1)} s.`);
    }
  }
}

function streamOptions(options: Options): StreamOptions {
  const urls = options.url ?? defaultUrls;
  const wrong = urls.find((url) => !URL.canParse(url) || !/^https?:/.test(url));
  if (wrong !== undefined) throw new UsageError(`${wrong} is not a URL; write ${defaultUrls[0]}.`);
  return {
    urls,
    capability: tokenOf(options),
    filters: filterOf(options),
    ...(options.after === undefined ? {} : { after: checkedCursor(options.after) }),
    ...(options.verify === undefined ? {} : { verify: true }),
  };
}

function tokenOf({ token, tokenFile }: Options): string | (() => Promise<string>) {
  if (tokenFile === undefined) return token ?? readEnvironment()['TALOS_TOKEN'] ?? '';
  if (token !== undefined) throw new UsageError('Give either --token or --token-file.');
  return async () => (await readFile(tokenFile, 'utf8')).trim();
}

function checkedCursor(text: string): string {
  try {
    decodeCursor(text);
    return text;
  } catch (error) {
    if (error instanceof TalosError) throw new UsageError('--after is not a cursor.');
    throw error;
  }
}

function limitOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new UsageError('--limit is not a number from 1 on.');
}
