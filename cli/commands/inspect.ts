/** `talos inspect`: explains a capability token. It trusts nobody: it says what the token claims and whether it is signed. */
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { bounds } from '../../src/config/bounds.ts';
import { isSignedByIssuer } from '../../src/core/capability.ts';
import { type DecodedCapability, decodeCapability } from '../../src/core/capability-claims.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { isDenial } from '../../src/core/denial.ts';
import { type CapabilityDescription, describeCapability } from '../describe-capability.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

const exitCodeUnsigned = 1;

/** `clock` gives the moment that times are told against. */
export function inspectCommand(program: Command, clock: Clock = systemClock): void {
  const inspect = program
    .command('inspect')
    .description('Explain a capability token in words. Exits with 1 when its signature is wrong.')
    .argument('<token>', 'the token, or - to read it from standard input')
    .option('--json', 'answer as JSON');
  inspect.action(reportingUsage(inspect, (token: string, options: { json?: true }) => explain(token, options, clock)));
}

async function explain(argument: string, options: { json?: true }, clock: Clock): Promise<void> {
  const decoded = decode((argument === '-' ? await readAll(process.stdin) : argument).trim());
  const signed = await isSignedByIssuer(decoded);
  const description = describeCapability(decoded.claims, Math.floor(clock.now() / 1000));
  console.log(options.json ? asJson(decoded, signed, description) : asText(decoded, signed, description));
  if (!signed) process.exitCode = exitCodeUnsigned;
}

function decode(token: string): DecodedCapability {
  const decoded = decodeCapability(token, bounds.capabilityTokenCharsMax);
  if (!isDenial(decoded)) return decoded;
  throw new UsageError(`This is not a capability token: ${sentenceOf(decoded.detail ?? '')}.`);
}

const faults: Readonly<Record<string, string>> = {
  token_too_large: `it is longer than ${bounds.capabilityTokenCharsMax} characters`,
  token_malformed: 'it is not base64url of a JSON object without nulls, fractions and duplicate keys',
  unsupported_form: 'it has a form that this version does not read',
  claim_unknown: 'it has a claim that is not known',
};

function sentenceOf(detail: string): string {
  const [fault, claim] = detail.split(':');
  if (fault === 'claim_missing') return `the claim ${claim} is missing`;
  if (fault === 'claim_malformed') return `the claim ${claim} has a wrong type or is out of bounds`;
  return faults[detail] ?? detail;
}

function asJson(decoded: DecodedCapability, signed: boolean, description: CapabilityDescription): string {
  const { claims, hash } = decoded;
  return JSON.stringify({ hash, signature_valid: signed, claims, ...description }, undefined, 2);
}

function asText(decoded: DecodedCapability, signed: boolean, description: CapabilityDescription): string {
  const { claims, hash } = decoded;
  return [
    `issuer      ${JSON.stringify(claims.iss).slice(1, -1)}`,
    `subject     ${JSON.stringify(claims.sub).slice(1, -1)}`,
    ...listed('allows', description.allows),
    ...listed('conditions', description.conditions),
    ...listed('times', description.times),
    ...listed('note', description.warnings),
    `hash        ${hash}`,
    `signature   ${signed ? 'verifies against the issuer it names' : 'DOES NOT VERIFY against the issuer it names'}`,
  ].join('\n');
}

const labelChars = 12;

function listed(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => (index === 0 ? label : '').padEnd(labelChars) + line);
}
