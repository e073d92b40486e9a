/** Tokens of the administration for whoever holds the admin secret: each is on record before it is handed out. */
import type { Recorder } from '../audit/recorder.ts';
import type { Secret } from '../config/secret.ts';
import { TalosError } from '../core/errors.ts';
import { adminUser, teamDefault } from '../core/principal.ts';
import { assertPrincipalId, isPlainText, normalPermissions } from '../core/role-rules.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { RequestFacts } from './caller.ts';

export interface TokenRequest {
  readonly principalId: string;
  readonly teamId?: string;
  readonly permissions: readonly string[];
  readonly sessionId: string;
  readonly ttlSec: number;
}

export interface IssuedToken {
  readonly token: string;
  readonly expiresAtSec: number;
  /** In normal form, sorted. */
  readonly permissions: readonly string[];
  readonly auditRef: string;
}

export interface IssueTokenOptions {
  readonly adminSecret: Secret | undefined;
  /** Undefined without a secret. */
  readonly sign:
    | ((request: Required<TokenRequest>) => Promise<{ readonly token: string; readonly expiresAtSec: number }>)
    | undefined;
  readonly recorder: Pick<Recorder, 'record'>;
}

/** Throws `INVALID_REQUEST` for a name that nobody can have. */
type Issue = (request: TokenRequest, facts: RequestFacts) => Promise<IssuedToken>;

/**
 * Lets through who says the secret, so that a stranger is told nothing about the rest of the request. Throws
 * `ADMIN_SECRET_MISSING` or `AUTH_INVALID`.
 */
export type IssueToken = (secret: string) => Issue;

export function createIssueToken({ adminSecret, sign, recorder }: IssueTokenOptions): IssueToken {
  return (secret) => {
    if (adminSecret === undefined || sign === undefined) throw new TalosError('ADMIN_SECRET_MISSING');
    if (adminSecret.equals(secret)) return (request, facts) => issue(sign, recorder, request, facts);
    throw new TalosError('AUTH_INVALID', { message: 'Invalid admin secret' });
  };
}

type Sign = Exclude<IssueTokenOptions['sign'], undefined>;

async function issue(
  sign: Sign,
  recorder: IssueTokenOptions['recorder'],
  request: TokenRequest,
  facts: RequestFacts,
): Promise<IssuedToken> {
  const { principalId, teamId = teamDefault, sessionId, ttlSec } = request;
  assertPrincipalId(principalId);
  if (!isPlainText(teamId) || !isPlainText(sessionId)) throw new TalosError('INVALID_REQUEST');
  const permissions = normalPermissions(request.permissions);
  const issued = await sign({ principalId, teamId, permissions, sessionId, ttlSec });
  const { eventId } = await recorder.record({
    surfaceId: 'admin.auth.token',
    requestId: facts.requestId,
    outcome: 'success',
    principal: adminUser,
    http: surfaceHttp('admin.auth.token', 200, facts),
    resource: { type: 'principal', id: principalId },
    meta: { event_type: 'login', token_ttl_sec: ttlSec },
    details: { principal_id: principalId, team_id: teamId, permissions, session_id: sessionId },
  });
  return { ...issued, permissions, auditRef: eventId };
}
