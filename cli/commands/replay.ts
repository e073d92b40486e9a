/** `talos replay`: what of the recorded calls would be refused or allowed under other capabilities and other trust. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { bounds } from '../../src/config/bounds.ts';
import { readEnvironment } from '../../src/config/env.ts';
import { type VerifiedCapability, verifyCapability } from '../../src/core/capability.ts';
import { isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import { describeError } from '../../src/core/errors.ts';
import { createArgumentSchemas } from '../../src/mcp/argument-schema.ts';
import { readToolRegistry } from '../../src/mcp/tool-registry.ts';
import { type Authority, compileAuthority } from '../../src/policy/authority.ts';
import { judgeAgain, type RecordedCall, recordedCall, type Verdict } from '../../src/policy/replay.ts';
import { type ExportSource, gatewaySource } from '../export/source.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';
import { secondOf } from './export.ts';
import { readToken } from './inspect.ts';

interface Options {
  readonly url: string;
  readonly token?: string;
  readonly capabilities: string;
  readonly trustedIssuer: readonly string[];
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
      'Judge the recorded calls of a running gateway again, under other capabilities, issuers or tool classes. Calls nothing. Exits with 1 when a call would be judged otherwise.',
    )
    .requiredOption('--capabilities <file>', 'the tokens to judge by, one on a line')
    .requiredOption('--trusted-issuer <did...>', 'whose tokens count')
    .option('--tool-registry <file>', 'which tools only read')
    .option('--url <url>', 'where the gateway listens', 'http://127.0.0.1:8000')
    .option('--token <capability>', 'a capability for tool:gateway/method:events.read (default: $TALOS_TOKEN)')
    .option('--from <time>', 'the first second, such as 2026-01-31 or 2026-01-31T08:00:00Z')
    .option('--to <time>', 'the second before which it ends')
    .option('--json', 'answer as JSON');
  replay.action(reportingUsage(replay, run));
}

async function run(options: Options): Promise<void> {
  const authorities = await readAuthorities(options);
  const knownTool = await readToolRegistry(options.toolRegistry).catch((error: unknown) => {
    throw new UsageError(describeError(error));
  });
  const tally = new Tally();
  const source = gatewaySource(options.url, options.token ?? readEnvironment()['TALOS_TOKEN']);
  for await (const call of recordedCalls(source, options)) {
    tally.add(call, judgeAgain(call, authorities, knownTool, bounds.clockSkewSec));
  }
  console.log(options.json ? JSON.stringify(tally.report(), undefined, 2) : tally.text());
  if (tally.isChanged()) process.exitCode = exitCodeChanged;
}

async function* recordedCalls(source: ExportSource, { from, to }: Options): AsyncGenerator<RecordedCall> {
  const { size } = await source.checkpoint();
  const query = new URLSearchParams({ event_type: 'mcp_tool_call' });
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

/** Tokens are taken as true or not; when they count is judged for each call. */
async function readAuthorities({ capabilities, trustedIssuer }: Options): Promise<readonly Authority[]> {
  const compileSchema = createArgumentSchemas();
  const trustedIssuers = issuers(trustedIssuer);
  const lines = (await readLines(capabilities)).map((line) => line.trim()).filter((line) => line !== '');
  const verified = await Promise.all(lines.map((token) => verify(token, trustedIssuers)));
  return verified.flatMap((capability) =>
    capability === undefined ? [] : [compileAuthority(capability, compileSchema)],
  );
}

async function verify(token: string, trustedIssuers: ReadonlySet<string>): Promise<VerifiedCapability | undefined> {
  const { claims, hash } = readToken(token);
  const nowSec = Math.max(claims.iat, claims.nbf ?? 0);
  const options = {
    trustedIssuers,
    nowSec,
    skewSec: Number.MAX_SAFE_INTEGER,
    tokenCharsMax: bounds.capabilityTokenCharsMax,
  };
  const verified = await verifyCapability(token, options);
  if (!isDenial(verified)) return verified;
  console.error(`warning: the token ${hash.slice(0, 16)} counts for nothing: ${verified.detail ?? verified.reason}.`);
  return undefined;
}

function issuers(dids: readonly string[]): ReadonlySet<string> {
  try {
    return didSet(dids);
  } catch (error) {
    throw new UsageError(`--trusted-issuer: ${describeError(error)}`);
  }
}

async function readLines(file: string): Promise<readonly string[]> {
  try {
    return (await readFile(file, 'utf8')).split('\n');
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${describeError(error)}`);
  }
}

interface Row {
  readonly change: 'newly_denied' | 'newly_allowed' | 'not_judged';
  readonly principal: string;
  readonly tool: string;
  readonly why: string;
  calls: number;
}

/** Calls by what would become of them. */
class Tally {
  readonly #rows = new Map<string, Row>();
  #calls = 0;
  #unchanged = 0;

  add(call: RecordedCall, verdict: Verdict): void {
    this.#calls++;
    const change = changeOf(call, verdict);
    if (change === undefined) {
      this.#unchanged++;
      return;
    }
    const row = { change, principal: call.principalId, tool: `${call.serverId}/${call.toolName}`, why: whyOf(verdict) };
    const key = JSON.stringify(row);
    const known = this.#rows.get(key) ?? { ...row, calls: 0 };
    known.calls++;
    this.#rows.set(key, known);
  }

  isChanged(): boolean {
    return [...this.#rows.values()].some(({ change }) => change !== 'not_judged');
  }

  report() {
    return { calls: this.#calls, unchanged: this.#unchanged, changes: [...this.#rows.values()] };
  }

  text(): string {
    const lines = [...this.#rows.values()].map(
      ({ change, principal, tool, why, calls }) =>
        `${sentences[change]} ${calls} calls of ${tool} by ${JSON.stringify(principal)}${why === '' ? '' : ` (${why})`}`,
    );
    return [...lines, `${this.#calls} calls, ${this.#unchanged} as they were.`].join('\n');
  }
}

const sentences: Readonly<Record<Row['change'], string>> = {
  newly_denied: 'would be denied: ',
  newly_allowed: 'would be allowed:',
  not_judged: 'cannot be judged:',
};

function changeOf({ wasAllowed }: RecordedCall, { kind }: Verdict): Row['change'] | undefined {
  if (kind === 'unknown') return 'not_judged';
  if (wasAllowed === (kind === 'allow')) return undefined;
  return wasAllowed ? 'newly_denied' : 'newly_allowed';
}

function whyOf(verdict: Verdict): string {
  if (verdict.kind === 'allow') return '';
  if (verdict.kind === 'unknown')
    return verdict.because === 'arguments' ? 'its arguments decide' : 'no token is given for it';
  return [verdict.reason, verdict.detail].filter((word) => word !== undefined).join(' ');
}
