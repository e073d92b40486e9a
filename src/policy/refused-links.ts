/** What is wrong with the links of a token that does not count, as far as they can be read: for operators, never for callers. */
import { chainLinkOf, checkValidityNow, isSignedByIssuer, scopesOf, validityOf } from '../core/capability.ts';
import { lineageOf, linkFault } from '../core/capability-chain.ts';
import { type DecodedCapability, decodeCapability } from '../core/capability-claims.ts';
import { type Denial, deny, isDenial } from '../core/denial.ts';
import type { Scope } from '../core/scope.ts';
import { compileConstraints, type NamedConstraint, type SchemaCompiler } from './constraints.ts';

/** A link as it says itself. */
export interface ReadLink {
  readonly hash: string;
  readonly id: string | undefined;
  readonly issuer: string;
  readonly subject: string;
  readonly scopes: readonly Scope[];
  readonly constraints: readonly NamedConstraint[];
  /** Revocations aside; each with a sentence for operators. */
  readonly faults: readonly Denial[];
}

export interface ReadLinkOptions {
  readonly trustedIssuers: ReadonlySet<string>;
  readonly nowSec: number;
  readonly skewSec: number;
  readonly tokenCharsMax: number;
  readonly compileSchema: SchemaCompiler | undefined;
}

/** Root first; the token alone when its chain cannot be read, and none when it is no token. */
export async function readLinks(token: string, options: ReadLinkOptions): Promise<readonly ReadLink[]> {
  const decoded = decodeCapability(token, options.tokenCharsMax);
  if (isDenial(decoded)) return [];
  const lineage = lineageOf(decoded, options.tokenCharsMax);
  if (isDenial(lineage)) return [await readLink(decoded, [lineage], options)];
  return await Promise.all(
    lineage.map((link, at) => readLink(link, placeFaults(link, lineage[at - 1], options), options)),
  );
}

async function readLink(
  link: DecodedCapability,
  placed: readonly Denial[],
  options: ReadLinkOptions,
): Promise<ReadLink> {
  const { claims, hash } = link;
  const { compileSchema } = options;
  const scopes = scopesOf(claims);
  const isSigned = await isSignedByIssuer(link);
  return {
    hash,
    id: claims.id,
    issuer: claims.iss,
    subject: claims.sub,
    scopes: scopes ?? [],
    constraints: compileConstraints(claims.constraints ?? {}, { linkHash: hash, compileSchema }),
    faults: [
      ...(isSigned ? [] : [saying(deny('SIGNATURE_INVALID', 'signature_wrong'), 'It is not signed by its issuer.')]),
      ...placed,
      ...timeFault(link, options),
      ...(scopes === undefined
        ? [saying(deny('SCOPE_MISMATCH', 'scope_malformed'), 'Its scope means nothing here.')]
        : []),
    ],
  };
}

/** What is wrong with where it stands in the chain. */
function placeFaults(
  { claims }: DecodedCapability,
  parent: DecodedCapability | undefined,
  { trustedIssuers }: ReadLinkOptions,
): readonly Denial[] {
  if (parent !== undefined) {
    const fault = linkFault(chainLinkOf(parent.claims), chainLinkOf(claims));
    return fault === undefined ? [] : [saying(fault, 'It may not follow the link before it.')];
  }
  if (trustedIssuers.has(claims.iss)) return [];
  return [saying(deny('SIGNATURE_INVALID', 'issuer_untrusted'), `Its issuer ${claims.iss} is not trusted here.`)];
}

function timeFault({ claims }: DecodedCapability, { nowSec, skewSec }: ReadLinkOptions): readonly Denial[] {
  const { issuedAtSec, notBeforeSec, expiresAtSec } = validityOf(claims);
  const fault = checkValidityNow({ issuedAtSec, notBeforeSec, expiresAtSec }, nowSec, skewSec);
  if (fault === undefined) return [];
  if (fault.detail === 'issued_in_future') return [saying(fault, `It says that it was issued at ${iso(issuedAtSec)}.`)];
  if (fault.detail === 'not_yet_valid') return [saying(fault, `It counts from ${iso(notBeforeSec)} on.`)];
  return [saying(fault, `It expired at ${iso(expiresAtSec)}.`)];
}

function saying(denial: Denial, message: string): Denial {
  return { ...denial, message };
}

function iso(timeSec: number): string {
  return new Date(timeSec * 1000).toISOString().replace('.000Z', 'Z');
}

/** The fault of a link that was revoked, as far as the record of it is there to say. */
export function revokedFault({ revokedAtSec, by, because }: RevokedLink): Denial {
  const who = by === undefined ? '' : ` by ${by}`;
  const why = because === undefined ? '' : `: ${because}`;
  return saying(deny('REVOKED'), `It was revoked at ${iso(revokedAtSec)}${who}${why}`);
}

export interface RevokedLink {
  readonly revokedAtSec: number;
  readonly by?: string;
  readonly because?: string;
}
