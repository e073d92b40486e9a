/** `talos inspect`: explains a capability token. It trusts nobody: it says what the token claims and whether it is signed. */
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { bounds } from '../../src/config/bounds.ts';
import { type DecodedCapability, decodeCapability } from '../../src/core/capability-claims.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { isDenial } from '../../src/core/denial.ts';
import { createArgumentSchemas } from '../../src/mcp/tools/argument-schema.ts';
import { describeToken, type LinkDescription, type TokenDescription } from '../../src/policy/describe-capability.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const exitCodeUnsound = 1;

/** `clock` gives the moment that times are told against. */
export function inspectCommand(program: Command, clock: Clock = systemClock): void {
  const inspect = program
    .command('inspect')
    .description(
      'Explain a capability token and its chain in words. Exits with 1 when a signature or the chain is wrong.',
    )
    .argument('<token>', 'the token, or - to read it from standard input')
    .option('--json', 'answer as JSON');
  inspect.action(reportingUsage(inspect, (token: string, options: { json?: true }) => explain(token, options, clock)));
}

async function explain(argument: string, options: { json?: true }, clock: Clock): Promise<void> {
  const decoded = readToken((argument === '-' ? await readAll(process.stdin) : argument).trim());
  const description = await describeToken(decoded, {
    nowSec: Math.floor(clock.now() / 1000),
    tokenCharsMax: bounds.capabilityTokenCharsMax,
    compileSchema: createArgumentSchemas(),
  });
  console.log(options.json ? asJson(decoded, description) : asText(description));
  if (!isSound(description)) process.exitCode = exitCodeUnsound;
}

function isSound({ links, chainFault }: TokenDescription): boolean {
  return chainFault === undefined && links.every(({ isSigned }) => isSigned);
}

/** Throws a `UsageError` that says what is wrong with the text. */
export function readToken(token: string): DecodedCapability {
  const decoded = decodeCapability(token, bounds.capabilityTokenCharsMax);
  if (!isDenial(decoded)) return decoded;
  throw new UsageError(`This is not a capability token: ${sentenceOf(decoded.detail ?? '')}.`);
}

const faults: Readonly<Record<string, string>> = {
  token_too_large: `it is longer than ${bounds.capabilityTokenCharsMax} characters`,
  token_malformed: 'it is not base64url of a JSON object without nulls, fractions and duplicate keys',
  unsupported_form: 'it has a form that this version does not read',
  claim_unknown: 'it has a claim that is not known',
  jws_header: 'it is a JWS whose header says more than the algorithm EdDSA, a type and a key id',
};

function sentenceOf(detail: string): string {
  const [fault, claim] = detail.split(':');
  if (fault === 'claim_missing') return `the claim ${claim} is missing`;
  if (fault === 'claim_malformed') return `the claim ${claim} has a wrong type or is out of bounds`;
  return faults[detail] ?? detail;
}

const chainSentences: Readonly<Record<string, string>> = {
  chain_too_long: 'it was passed on more often than a capability may be',
  chain_malformed: 'it carries a parent that is no capability token',
  chain_inconsistent: 'its parents do not follow each other',
  not_delegatable: 'a parent does not allow its subject to pass it on',
  issuer_not_subject: "a child is not issued by its parent's subject",
  scope_widened: 'a child grants more than its parent',
  expiry_later: 'a child outlives its parent',
  team_changed: 'a child acts for another team than its parent',
};

function asJson({ hash, object }: DecodedCapability, { links, chainFault }: TokenDescription): string {
  const last = links.at(-1);
  return JSON.stringify(
    {
      hash,
      signature_valid: last?.isSigned ?? false,
      ...(chainFault === undefined ? {} : { chain_fault: chainFault.detail }),
      claims: object,
      ...(last === undefined ? {} : jsonOf(last)),
      links: links.map((link) => ({ ...identityOf(link), ...jsonOf(link) })),
    },
    undefined,
    2,
  );
}

function identityOf({ hash, form, id, issuer, subject, isSigned }: LinkDescription) {
  return { hash, form, id, issuer, subject, signature_valid: isSigned };
}

function jsonOf({ allows, conditions, times, warnings }: LinkDescription) {
  return { allows, conditions, times, warnings };
}

function asText({ links, chainFault }: TokenDescription): string {
  const sections = links.map((link, index) => {
    const heading =
      links.length === 1 ? [] : [index === links.length - 1 ? 'This token' : `Derived from, ${index + 1}`];
    return [...heading, ...linkLines(link)].join('\n');
  });
  if (chainFault !== undefined)
    sections.push(`CHAIN       NOT VALID: ${chainSentences[chainFault.detail ?? ''] ?? ''}`);
  return sections.join('\n\n');
}

function linkLines(link: LinkDescription): readonly string[] {
  return [
    ...(link.id === undefined ? [] : [`id          ${quoted(link.id)}`]),
    `issuer      ${quoted(link.issuer)}`,
    `subject     ${quoted(link.subject)}`,
    ...listed('allows', link.allows),
    ...listed('conditions', link.conditions),
    ...listed('times', link.times),
    ...listed('note', link.warnings),
    `hash        ${link.hash}`,
    `signature   ${link.isSigned ? 'verifies against the issuer it names' : 'DOES NOT VERIFY against the issuer it names'}`,
  ];
}

function quoted(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

const labelChars = 12;

function listed(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => (index === 0 ? label : '').padEnd(labelChars) + line);
}
