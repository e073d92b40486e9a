/** `talos replay`: what of the recorded calls would be refused or allowed under other capabilities, roles, keys and trust. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { bounds } from '../../src/config/bounds.ts';
import { readEnvironment } from '../../src/config/env.ts';
import { describeError } from '../../src/core/errors.ts';
import { readToolRegistry } from '../../src/mcp/tool-registry.ts';
import { type RecordedCall, recordedCall } from '../../src/policy/recorded-call.ts';
import { judgeAgain, type ReplayPolicy } from '../../src/policy/replay.ts';
import { type ExportSource, gatewaySource } from '../export/source.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { policyIn } from '../replay/policy-document.ts';
import { readPresentPolicy } from '../replay/present-policy.ts';
import { reportText, Tally } from '../replay/tally.ts';
import { readAuthorities } from '../replay/tokens.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';
import { secondOf } from './export.ts';

interface Options {
  readonly url: string;
  readonly token?: string;
  readonly capabilities?: string;
  readonly trustedIssuer?: readonly string[];
  readonly policy?: string;
  readonly present?: true;
  readonly toolRegistry?: string;
  readonly from?: string;
  readonly to?: string;
  readonly json?: true;
}

const exitCodeChanged = 1;

export function replayCommand(program: Command): void {
  const replay = program
    .command('replay')
    .description(
      'Judge the recorded calls of a running gateway again, under other capabilities, issuers, roles, API keys or tool classes. Calls nothing. Exits with 1 when a call would be judged otherwise.',
    )
    .option('--capabilities <file>', 'tokens to judge by, one on a line')
    .option('--trusted-issuer <did...>', 'whose tokens count')
    .option(
      '--policy <file>',
      'roles and keys to judge by: an export of the configuration, or its `rbac` and `api_keys`',
    )
    .option('--present', 'judge by the roles, keys and revocations that the gateway has now, but for what is given')
    .option('--tool-registry <file>', 'which tools only read')
    .option('--url <url>', 'where the gateway listens', gatewayUrlDefault)
    .option('--token <credential>', 'a capability or key for tool:gateway/method:events.read (default: $TALOS_TOKEN)')
    .option('--from <time>', 'the first second, such as 2026-01-31 or 2026-01-31T08:00:00Z')
    .option('--to <time>', 'the second before which it ends')
    .option('--json', 'answer as JSON');
  replay.action(reportingUsage(replay, run));
}

async function run(options: Options): Promise<void> {
  const token = options.token ?? readEnvironment()['TALOS_TOKEN'];
  const policy = await readPolicy(options, token);
  const tally = new Tally();
  for await (const call of recordedCalls(gatewaySource(options.url, token), options)) {
    tally.add(call, judgeAgain(call, policy));
  }
  const report = tally.report();
  console.log(options.json ? JSON.stringify(report, undefined, 2) : reportText(report));
  if (report.newly_denied + report.newly_allowed > 0) process.exitCode = exitCodeChanged;
}

async function readPolicy(options: Options, token: string | undefined): Promise<ReplayPolicy> {
  const { capabilities, trustedIssuer = [], policy, present, toolRegistry, url } = options;
  if (capabilities === undefined && policy === undefined && present === undefined) {
    throw new UsageError('Give what to judge by: --capabilities, --policy or --present.');
  }
  if (capabilities !== undefined && trustedIssuer.length === 0) {
    throw new UsageError('--capabilities needs --trusted-issuer, which says whose tokens count.');
  }
  const knownTool = await readToolRegistry(toolRegistry).catch((error: unknown) => {
    throw new UsageError(describeError(error));
  });
  return {
    ...{ knownTool, skewSec: bounds.clockSkewSec },
    ...(present === undefined ? {} : await readPresentPolicy(url, token)),
    ...(policy === undefined ? {} : policyIn(await readJson(policy), policy)),
    ...(capabilities === undefined ? {} : { authorities: await readAuthorities(capabilities, trustedIssuer) }),
  };
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${describeError(error)}`);
  }
}

async function* recordedCalls(source: ExportSource, { from, to }: Options): AsyncGenerator<RecordedCall> {
  const { size } = await source.checkpoint();
  const query = new URLSearchParams();
  for (const [name, text] of Object.entries({ from, to })) {
    const second = secondOf(`--${name}`, text);
    if (second !== undefined) query.set(name, String(second));
  }
  for (let next = 0; next < size; ) {
    const page = await source.page(next, size, query);
    for (const { record } of page) {
      const call = recordedCall(record);
      if (call !== undefined) yield call;
    }
    next = (page.at(-1)?.leafIndex ?? size) + 1;
  }
}
