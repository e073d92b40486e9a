/** `talos delegate`: passes a capability on, narrowed. It needs the key of the parent's subject, and no gateway. */
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { delegateCapability } from '../../src/core/capability-grant.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { formatDuration } from '../../src/core/duration.ts';
import {
  addTermOptions,
  readScopes,
  readTerms,
  signedWithin,
  type TermOptions,
  warnOfReadableKey,
} from '../capability-terms.ts';
import { readKeyFile } from '../key-file.ts';
import { reportingUsage } from '../usage-error.ts';
import { readToken } from './inspect.ts';

interface DelegateOptions extends TermOptions {
  readonly parent: string;
  readonly scope?: readonly string[];
}

/** `clock` gives the time of issue. */
export function delegateCommand(program: Command, clock: Clock = systemClock): void {
  const delegate = program
    .command('delegate')
    .description('Pass a capability on and print the new token. It can allow less than the parent, and never more.')
    .requiredOption('--key <file>', "the private key of the parent's subject")
    .requiredOption('--parent <token>', 'the token to pass on, or - to read it from standard input')
    .option('--scope <scope...>', "what it allows; the parent's scope when it is not given");
  addTermOptions(delegate);
  delegate.action(reportingUsage(delegate, (options: DelegateOptions) => printToken(options, clock)));
}

async function printToken(options: DelegateOptions, clock: Clock): Promise<void> {
  const parent = (options.parent === '-' ? await readAll(process.stdin) : options.parent).trim();
  const { claims } = readToken(parent);
  const terms = { ...readTerms(options), ...(options.scope === undefined ? {} : { scope: readScopes(options.scope) }) };
  const privateKey = await readKeyFile(options.key);
  const nowSec = Math.floor(clock.now() / 1000);
  console.log(signedWithin(() => delegateCapability({ ...terms, privateKey, parent, nowSec })));
  const ttlSec = Math.min(terms.ttlSec, claims.exp - nowSec);
  if (ttlSec > 0) console.error(`Passed on to ${terms.subject} for ${formatDuration(ttlSec)}.`);
  else console.error('warning: the parent has expired, so the new token is of no use.');
  await warnOfReadableKey(options.key);
}
