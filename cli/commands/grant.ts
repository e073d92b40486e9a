/** `talos grant`: signs a capability. The token is all that goes to stdout, so that it can be piped. */
import { createPublicKey } from 'node:crypto';
import type { Command } from 'commander';
import { grantCapability } from '../../src/core/capability-grant.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { didKeyFromPublicKey } from '../../src/core/did.ts';
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

interface GrantOptions extends TermOptions {
  readonly scope: readonly string[];
}

/** `clock` gives the time of issue. */
export function grantCommand(program: Command, clock: Clock = systemClock): void {
  const grant = program
    .command('grant')
    .description('Sign a capability and print the token.')
    .requiredOption('--key <file>', 'the private key of the issuer')
    .requiredOption('--scope <scope...>', 'what it allows: tool:<server>[/method:<tool>]; may be repeated');
  addTermOptions(grant);
  grant.action(reportingUsage(grant, (options: GrantOptions) => printToken(options, clock)));
}

async function printToken(options: GrantOptions, clock: Clock): Promise<void> {
  const terms = { ...readTerms(options), scope: readScopes(options.scope) };
  const privateKey = await readKeyFile(options.key);
  const issuer = didKeyFromPublicKey(createPublicKey(privateKey));
  const nowSec = Math.floor(clock.now() / 1000);
  console.log(signedWithin(() => grantCapability({ ...terms, privateKey, issuer, nowSec })));
  console.error(`Granted to ${terms.subject} for ${formatDuration(terms.ttlSec)}: ${options.scope.join(', ')}.`);
  await warnOfReadableKey(options.key);
}
