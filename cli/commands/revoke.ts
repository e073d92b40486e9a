/**
 * `talos revoke`: makes a capability, and all that was derived from it, count no longer, on every gateway of the database
 * within a second. Through a running gateway, or in the database itself.
 */
import { randomUUID } from 'node:crypto';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { JsonObject } from '../../src/core/json.ts';
import { gatewayItself } from '../../src/core/principal.ts';
import { isRevocation, type Revocation } from '../../src/core/revocation.ts';
import { revocationDraft, revocationOfToken } from '../../src/gateway/capabilities.ts';
import { gatewayClient } from '../gateway-client.ts';
import { withDatabase } from '../open-database.ts';
import { openRecorder } from '../open-recorder.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';
import { readToken } from './inspect.ts';

interface RevokeOptions {
  readonly id?: true;
  readonly reason?: string;
  readonly url?: string;
}

export function revokeCommand(program: Command): void {
  const revoke = program
    .command('revoke')
    .description(
      'Revoke a capability and all that was derived from it. Without --url it is done in the database; with the embedded store the gateway must be stopped for that.',
    )
    .argument('<capability>', 'the token, its hash, or - to read the token from standard input')
    .option('--id', 'the argument is an id that the issuer gave')
    .option('--reason <text>', 'why, for the record; up to 500 characters')
    .option('--url <url>', 'do it through the gateway there; standard input holds the admin secret');
  revoke.action(reportingUsage(revoke, (argument: string, options: RevokeOptions) => run(argument, options)));
}

async function run(argument: string, options: RevokeOptions): Promise<void> {
  if (argument === '-' && options.url !== undefined)
    throw new UsageError('With --url, standard input holds the secret.');
  const text = (argument === '-' ? await readAll(process.stdin) : argument).trim();
  const revocation = revocationOf(text, options.id === true);
  if ((options.reason?.length ?? 0) > reasonCharsMax) throw new UsageError('--reason is too long.');
  if (options.url === undefined) return await revokeInDatabase(revocation, options.reason);
  // The whole token, where there is one: by it the gateway knows when the revocation can be forgotten.
  const target = revocation.endsAtSec === undefined ? namedBy(revocation) : { token: text };
  await revokeThrough(options.url, revocation, target, options.reason);
}

const reasonCharsMax = 500;

function revocationOf(text: string, isId: boolean): Revocation {
  const named: Revocation = isId ? { kind: 'id', value: text } : { kind: 'hash', value: text };
  if (isRevocation(named)) return named;
  if (isId) throw new UsageError('An id has 1 to 200 printable characters.');
  return revocationOfToken(readToken(text));
}

function namedBy({ kind, value }: Revocation): JsonObject {
  return kind === 'hash' ? { capability_hash: value } : { id: value };
}

async function revokeThrough(
  url: string,
  { kind, value }: Revocation,
  target: JsonObject,
  reason: string | undefined,
): Promise<void> {
  const secret = (await readAll(process.stdin)).trim();
  const body = { ...target, ...(reason === undefined ? {} : { reason }) };
  const answer = await gatewayClient(url).post('/admin/v1/capabilities/revoke', secret, body);
  if (answer.status !== 200) throw new UsageError(`The gateway refuses: ${String(answer.body['message'])}`);
  tell({ kind, value }, String(answer.body['audit_ref']));
}

async function revokeInDatabase(revocation: Revocation, because: string | undefined): Promise<void> {
  await withDatabase(async (opened) => {
    const recorder = openRecorder(opened);
    const caller = { principal: gatewayItself, authority: undefined, denial: undefined };
    const request = { caller, facts: { requestId: randomUUID() }, ...(because === undefined ? {} : { because }) };
    const { eventId } = await recorder.record(revocationDraft(request, revocation));
    tell(revocation, eventId);
  });
}

function tell({ kind, value }: Revocation, eventId: string): void {
  console.log(`Revoked the capability with the ${kind} ${value}; recorded as ${eventId}.`);
}
