/** Tokens of the administration for whoever holds the admin secret: each is on record before it is handed out. */
import type { Recorder } from '../audit/recorder.ts';
import type { Secret } from '../config/secret.ts';
import { TalosError } from '../core/errors.ts';
import { permissionCovers, requestsWithin } from '../core/permission.ts';
import { adminUser, teamDefault } from '../core/principal.ts';
import { assertPrincipalId, isPlainText, normalPermissions } from '../core/role-rules.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import { judged } from './administer.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { notTheirs } from './refusal.ts';

export interface TokenRequest {
  readonly principalId: string;
  readonly teamId?: string;
  readonly permissions: readonly string[];
  readonly sessionId: string;
  readonly ttlSec: number;
  /** An API key that carries what the permissions open outside the administration. */
  readonly dataPlaneToken?: string;
}

export interface IssuedToken {
  readonly token: string;
  readonly expiresAtSec: number;
  /** As they were asked for, sorted. */
  readonly permissions: readonly string[];
  readonly auditRef: string;
}

type Signed = Required<Omit<TokenRequest, 'dataPlaneToken'>>;

export interface IssueTokenOptions {
  readonly adminSecret: Secret | undefined;
  /** Undefined without a secret. */
  readonly sign: ((request: Signed) => Promise<{ readonly token: string; readonly expiresAtSec: number }>) | undefined;
  readonly recorder: Pick<Recorder, 'record'>;
  /** What an API key carries. Throws `AUTH_INVALID` for one that is none or has ended. */
  readonly identify: (key: string) => Promise<{ readonly permissions?: readonly string[] }>;
}

/**
 * Throws `INVALID_REQUEST` for a name that nobody can have and for permissions that need an API key when there is none, and
 * `TALOS_DENIED` when that does not carry them.
 */
type Issue = (request: TokenRequest, facts: RequestFacts) => Promise<IssuedToken>;

/**
 * Lets through who says the secret, so that a stranger is told nothing about the rest of the request. Throws
 * `ADMIN_SECRET_MISSING` or `AUTH_INVALID`.
 */
export type IssueToken = (secret: string) => Issue;

export function createIssueToken(options: IssueTokenOptions): IssueToken {
  const { adminSecret, sign } = options;
  return (secret) => {
    if (adminSecret === undefined || sign === undefined) throw new TalosError('ADMIN_SECRET_MISSING');
    if (adminSecret.equals(secret)) return (request, facts) => issue(sign, options, request, facts);
    throw new TalosError('AUTH_INVALID', { message: 'Invalid admin secret' });
  };
}

type Sign = Exclude<IssueTokenOptions['sign'], undefined>;

async function issue(
  sign: Sign,
  { recorder, identify }: IssueTokenOptions,
  request: TokenRequest,
  facts: RequestFacts,
): Promise<IssuedToken> {
  const { principalId, teamId = teamDefault, sessionId, ttlSec } = request;
  const asked = { surfaceId: 'admin.auth.token' as const, resource: { type: 'principal', id: '-' } };
  const permissions = await judged(recorder, { caller: administrator, facts }, asked, async () => {
    assertPrincipalId(principalId);
    if (!isPlainText(teamId) || !isPlainText(sessionId)) throw new TalosError('INVALID_REQUEST');
    const normal = normalPermissions(request.permissions);
    await assertCarried(normal.filter(isPublic), request.dataPlaneToken, identify);
    return normal;
  });
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
  return { ...issued, permissions: [...new Set(request.permissions)].sort(), auditRef: eventId };
}

const administrator: Caller = { principal: adminUser, isAdmin: true, authority: undefined, denial: undefined };

const administrativeVerbs = new Set(['read', 'write', 'admin']);

/** Whether it is what agents do, as opposed to the administration of that. */
function isPublic(permission: string): boolean {
  const [namespace = '', verb = ''] = permission.split(':');
  return namespace === 'a2a' || (['mcp', 'llm'].includes(namespace) && !administrativeVerbs.has(verb));
}

/** The admin secret alone opens the administration: for more somebody's key that has it must be shown. */
async function assertCarried(
  permissions: readonly string[],
  key: string | undefined,
  identify: IssueTokenOptions['identify'],
): Promise<void> {
  if (permissions.length === 0) return;
  const needsKey = `${permissions.slice(0, 5).join(', ')}: needs an API key that carries it, as data_plane_token.`;
  if (key === undefined) throw new TalosError('INVALID_REQUEST', { message: needsKey });
  const { permissions: carried = [] } = await identify(key).catch((error: unknown) => {
    if (!(error instanceof TalosError) || error.code !== 'AUTH_INVALID') throw error;
    throw new TalosError('INVALID_REQUEST', { message: 'The data_plane_token is no API key in force.' });
  });
  const isCarried = permissions
    .flatMap(requestsWithin)
    .every((requested) => carried.some((granted) => permissionCovers(granted, requested)));
  if (!isCarried)
    throw notTheirs('escalation', 'The key that is the data_plane_token does not carry what is asked for.');
}
