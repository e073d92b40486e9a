/**
 * Tokens of the administration: JWTs under HS256 with the admin secret, made by `POST /admin/v1/auth/token` or by
 * whoever else holds the secret. No other algorithm is taken, so nothing that is public can serve as the key.
 */
import { SignJWT } from 'jose';
import type { Secret } from '../config/secret.ts';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import { isJsonObject } from '../core/json.ts';
import { adminUser, teamDefault } from '../core/principal.ts';
import { type Identity, isName, isPrincipalId, readPermissions } from './identity.ts';
import { verifyJwt } from './verify-jwt.ts';

export interface TokenRequest {
  readonly principalId: string;
  readonly teamId: string;
  readonly permissions: readonly string[];
  readonly sessionId: string;
  readonly ttlSec: number;
}

export interface IssuedToken {
  readonly token: string;
  readonly expiresAtSec: number;
}

export interface AdminTokens {
  readonly issue: (request: TokenRequest) => Promise<IssuedToken>;
  /** Throws `AUTH_INVALID`. */
  readonly verify: (token: string) => Promise<Identity>;
}

const algorithm = 'HS256';

export function createAdminTokens({ secret, clock }: { readonly secret: Secret; readonly clock: Clock }): AdminTokens {
  const key = new TextEncoder().encode(secret.reveal());
  return {
    async issue({ principalId, teamId, permissions, sessionId, ttlSec }) {
      const issuedAtSec = Math.floor(clock.now() / 1000);
      const expiresAtSec = issuedAtSec + ttlSec;
      // Existing services read the second name of the permissions.
      const claims = { sid: sessionId, team_id: teamId, permissions, rbac_permissions: permissions };
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg: algorithm, typ: 'JWT' })
        .setSubject(principalId)
        .setIssuedAt(issuedAtSec)
        .setExpirationTime(expiresAtSec)
        .sign(key);
      return { token, expiresAtSec };
    },
    async verify(token) {
      const payload = await verifyJwt(token, () => key, { algorithms: [algorithm], clock });
      // Older brokers name nobody in tokens of the administrator.
      const { sub = adminUser.id, team_id: team, permissions, rbac_permissions: others, data_plane: plane } = payload;
      const teamId = team ?? (isJsonObject(plane) ? plane['team_id'] : undefined) ?? teamDefault;
      if (!isPrincipalId(sub) || !isName(teamId)) throw new TalosError('AUTH_INVALID');
      return {
        principal: { authMode: 'bearer', id: sub, teamId },
        permissions: [...new Set([...readPermissions(permissions), ...readPermissions(others)])],
        expiresAtMs: payload.exp * 1000,
      };
    },
  };
}
