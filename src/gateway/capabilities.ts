/** Capabilities as administrators deal with them: granting, revoking, listing what is revoked, and explaining a token. */
import type { KeyObject } from 'node:crypto';
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { EventDraft } from '../core/audit-event.ts';
import { scopesOf } from '../core/capability.ts';
import { teamOf } from '../core/capability-chain.ts';
import { type DecodedCapability, decodeCapability } from '../core/capability-claims.ts';
import type { CapabilityClaims } from '../core/capability-forms.ts';
import { grantCapability } from '../core/capability-grant.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import { isRevocation, type Revocation } from '../core/revocation.ts';
import { splitScopes } from '../core/scope.ts';
import { scopeFault } from '../core/scope-sense.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { CapabilityVerifier } from '../policy/capability-verifier.ts';
import { constraintFault, type SchemaCompiler } from '../policy/constraints.ts';
import type { PolicyMode } from '../policy/decide.ts';
import { describeToken, type TokenDescription } from '../policy/describe-capability.ts';
import { mayGrant } from '../policy/may-give.ts';
import type { RevocationFeed } from '../policy/revocation-feed.ts';
import type { RevocationPage, RevocationStore, ToldRevocation } from '../storage/revocations.ts';
import { type AdminRequest, adminDraft, judged } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller } from './caller.ts';
import { notTheirs } from './refusal.ts';

export interface GrantRequest extends AdminRequest {
  readonly subject: string;
  readonly scope: string;
  readonly constraints?: JsonObject;
  readonly delegatable?: boolean;
  readonly ttlSec: number;
}

export interface Granted {
  readonly token: string;
  readonly hash: string;
  readonly expiresAtSec: number;
  /** The record that says so. */
  readonly auditRef: string;
}

/** A whole token, or what names one. */
export type RevokeTarget = { readonly token: string } | Revocation;

export interface RevokeRequest extends AdminRequest {
  readonly target: RevokeTarget;
  readonly because?: string;
}

export interface Revoked {
  readonly revocation: Revocation;
  readonly auditRef: string;
}

export interface Inspected extends TokenDescription {
  /** Why this gateway would not accept it now; undefined when it would. */
  readonly denial: Denial | undefined;
}

/** Each throws the denial; a grant or revocation is durable, and so is its record, before it is answered. */
export interface CapabilityAdmin {
  /** Throws `ISSUER_NOT_CONFIGURED`, and `INVALID_REQUEST` for what would not make a valid token. */
  readonly grant: (request: GrantRequest) => Promise<Granted>;
  /** Repeating it changes nothing. Throws `INVALID_REQUEST` for what names no capability. */
  readonly revoke: (request: RevokeRequest) => Promise<Revoked>;
  /** Newest first. */
  readonly revocations: (request: AdminRequest, page: RevocationPage) => Promise<ToldRevocation[]>;
  /** Throws `INVALID_REQUEST` for what is no token. */
  readonly inspect: (request: AdminRequest, token: string) => Promise<Inspected>;
}

/** The key that the gateway itself issues capabilities with. */
export interface Issuer {
  readonly did: string;
  readonly privateKey: KeyObject;
}

export interface CapabilityAdminOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly policyMode: PolicyMode;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly store: RevocationStore;
  readonly feed: Pick<RevocationFeed, 'size' | 'asked'>;
  readonly verifier: CapabilityVerifier;
  readonly compileSchema: SchemaCompiler;
  readonly issuer: Issuer | undefined;
  readonly clock: Clock;
}

export function createCapabilityAdmin(options: CapabilityAdminOptions): CapabilityAdmin {
  const { authorizeAction, recorder, store, feed, verifier, compileSchema, issuer, clock } = options;
  const nowSec = () => Math.floor(clock.now() / 1000);
  return {
    async grant(request) {
      await authorizeAction('admin.capabilities.grant', request.caller, request.facts);
      const { token, claims, hash } = await judged(recorder, request, asked('admin.capabilities.grant'), async () => {
        if (issuer === undefined) throw new TalosError('ISSUER_NOT_CONFIGURED');
        const signed = signedGrant(issuer, request, nowSec(), compileSchema);
        const decoded = readToken(signed);
        assertMayGrant(decoded.claims, request.caller, options.policyMode);
        return { token: signed, ...decoded };
      });
      const { eventId } = await recorder.record(
        adminDraft('admin.capabilities.grant', request, { type: 'capability', id: hash }, 'capability_granted', {
          granted_hash: hash,
          granted_subject: claims.sub,
          granted_scope: claims.scope.slice(0, bounds.metaStringCharsMax).toWellFormed(),
          granted_until: claims.exp,
        }),
      );
      return { token, hash, expiresAtSec: claims.exp, auditRef: eventId };
    },
    async revoke(request) {
      await authorizeAction('admin.capabilities.revoke', request.caller, request.facts);
      const revocation = await judged(recorder, request, asked('admin.capabilities.revoke'), async () =>
        revocationOf(request.target),
      );
      // What is revoked is remembered in full by every gateway.
      if (feed.size >= bounds.revocationsMax) {
        throw new TalosError('STORE_FULL', { message: 'There are as many revocations as a gateway can remember.' });
      }
      const { eventId } = await recorder.record(revocationDraft(request, revocation));
      // Here it counts from this answer on; everywhere else within a second.
      await feed.asked();
      return { revocation, auditRef: eventId };
    },
    async revocations(request, page) {
      await authorizeAction('admin.capabilities.revocations', request.caller, request.facts);
      return await store.list(page);
    },
    async inspect(request, token) {
      await authorizeAction('admin.capabilities.inspect', request.caller, request.facts);
      const decoded = readToken(token);
      const tokenCharsMax = bounds.capabilityTokenCharsMax;
      const description = await describeToken(decoded, { nowSec: nowSec(), tokenCharsMax, compileSchema });
      const verified = await verifier.authorityOf(token);
      return { ...description, denial: isDenial(verified) ? verified : undefined };
    },
  };
}

/** A capability that has no name yet. */
function asked(surfaceId: SurfaceId) {
  return { surfaceId, resource: { type: 'capability', id: '-' } };
}

function signedGrant(issuer: Issuer, request: GrantRequest, nowSec: number, compileSchema: SchemaCompiler): string {
  const { subject, scope, constraints, delegatable, ttlSec } = request;
  assertGrants(request);
  for (const [name, value] of Object.entries(constraints ?? {})) {
    if (constraintFault(name, value, compileSchema) === undefined) continue;
    throw new TalosError('INVALID_REQUEST', {
      message: `The constraint ${name.slice(0, 100)} would refuse every call.`,
    });
  }
  const token = grantCapability({
    privateKey: issuer.privateKey,
    issuer: issuer.did,
    subject,
    scope,
    nowSec,
    ttlSec,
    ...(constraints === undefined ? {} : { constraints }),
    ...(delegatable === undefined ? {} : { delegatable }),
  });
  if (token.length <= bounds.capabilityTokenCharsMax) return token;
  throw new TalosError('INVALID_REQUEST', { message: 'The token would be longer than gateways read.' });
}

/** Throws `TALOS_DENIED` when the capability would allow more than whoever grants it may do. */
function assertMayGrant(claims: CapabilityClaims, caller: Caller, mode: PolicyMode): void {
  if (mayGrant(scopesOf(claims) ?? [], teamOf(claims.constraints), caller, mode)) return;
  throw notTheirs('escalation', 'Nobody grants what they may not do themselves.');
}

/** A scope that nothing can ever match is a mistake, and its token would be refused everywhere without a word of why. */
function assertGrants({ scope, constraints = {} }: GrantRequest): void {
  const { tool, method } = constraints;
  // The older spelling, whose names are in the constraints.
  const isOlder = scope === 'tools/call' && typeof tool === 'string' && typeof method === 'string';
  const [fault] = isOlder ? [] : splitScopes(scope).flatMap((text) => scopeFault(text) ?? []);
  if (fault !== undefined) throw new TalosError('INVALID_REQUEST', { message: fault });
}

function readToken(token: string): DecodedCapability {
  const decoded = decodeCapability(token, bounds.capabilityTokenCharsMax);
  if (!isDenial(decoded)) return decoded;
  throw new TalosError('INVALID_REQUEST', {
    message: 'This is not a capability token.',
    details: { fault: decoded.detail ?? '' },
  });
}

function revocationOf(target: RevokeTarget): Revocation {
  const revocation = 'token' in target ? revocationOfToken(readToken(target.token)) : target;
  if (isRevocation(revocation)) return revocation;
  throw new TalosError('INVALID_REQUEST', {
    message: 'A capability is named by its hash (64 hex digits) or by its id (1 to 200 printable characters).',
  });
}

/** Nothing that was derived from a token outlives it. */
export function revocationOfToken({ hash, claims }: DecodedCapability): Revocation {
  return { kind: 'hash', value: hash, endsAtSec: claims.exp };
}

/** The record of a revocation, which the revocation itself commits with. */
export function revocationDraft(request: Omit<RevokeRequest, 'target'>, revocation: Revocation): EventDraft {
  const { kind, value } = revocation;
  return {
    ...adminDraft('admin.capabilities.revoke', request, { type: 'capability', id: value }, 'capability_revoked', {
      [kind === 'hash' ? 'revoked_hash' : 'revoked_id']: value,
      revoked_because: request.because,
    }),
    companions: { revokes: revocation },
  };
}
