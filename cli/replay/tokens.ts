/** Capabilities to judge recorded calls by, from a file with one on a line. */
import { readFile } from 'node:fs/promises';
import { bounds } from '../../src/config/bounds.ts';
import { type VerifiedCapability, verifyCapability } from '../../src/core/capability.ts';
import { isDenial } from '../../src/core/denial.ts';
import { didSet } from '../../src/core/did.ts';
import { describeError } from '../../src/core/errors.ts';
import { createArgumentSchemas } from '../../src/mcp/tools/argument-schema.ts';
import { type Authority, compileAuthority } from '../../src/policy/authority.ts';
import { readToken } from '../commands/inspect.ts';
import { UsageError } from '../usage-error.ts';

/** Tokens are taken as true or not; when they count is judged for each call. Warns of those that count for nothing. */
export async function readAuthorities(file: string, trusted: readonly string[]): Promise<readonly Authority[]> {
  const compileSchema = createArgumentSchemas();
  const trustedIssuers = issuers(trusted);
  const lines = (await readLines(file)).map((line) => line.trim()).filter((line) => line !== '');
  const verified = await Promise.all(lines.map((token) => verify(token, trustedIssuers)));
  return verified.flatMap((capability) =>
    capability === undefined ? [] : [compileAuthority(capability, compileSchema)],
  );
}

async function verify(token: string, trustedIssuers: ReadonlySet<string>): Promise<VerifiedCapability | undefined> {
  const { claims, hash } = readToken(token);
  const verified = await verifyCapability(token, {
    trustedIssuers,
    nowSec: Math.max(claims.iat, claims.nbf ?? 0),
    skewSec: Number.MAX_SAFE_INTEGER,
    tokenCharsMax: bounds.capabilityTokenCharsMax,
  });
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
