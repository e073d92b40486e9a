/** Who the caller is, and how the gateway does, as administrators ask for it. */
import { Type } from 'typebox';
import type { AuthorizeAction } from '../../../gateway/authorize-action.ts';
import type { WhoAmI } from '../../../gateway/who-am-i.ts';
import { type AuthenticateRequest, authenticated, callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { BindingList } from './rbac-schemas.ts';

const Me = Type.Object({
  id: Type.String(),
  principal_id: Type.String(),
  team_id: Type.Union([Type.String(), Type.Null()]),
  name: Type.String(),
  email: Type.String({ description: 'A name in the form of an address; no mail goes there.' }),
  roles: Type.Array(Type.String()),
  permissions: Type.Array(Type.String()),
  effective_permissions: Type.Array(Type.String()),
  bindings: BindingList,
  capability_scopes: Type.Array(Type.String(), {
    description: 'Of the capability that came along. While there is one, it alone says what is allowed.',
  }),
});

const GatewayStatus = Type.Object({
  status: Type.Union([Type.Literal('HEALTHY'), Type.Literal('DEGRADED')]),
  version: Type.String(),
  uptime_seconds: Type.Integer(),
  region: Type.String(),
  timestamp: Type.Number({ description: 'Unix seconds.' }),
});

export interface MeRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly authorizeAction: AuthorizeAction;
  readonly factsOf: FactsOf;
  readonly whoAmI: WhoAmI;
  readonly version: string;
  readonly region: string;
  readonly uptimeSeconds: () => number;
  readonly nowSeconds: () => number;
  readonly state: () => 'RUNNING' | 'DEGRADED';
}

export function meRoutes(app: App, deps: MeRouteDeps): void {
  const tags = ['Administration'];
  const onRequest = authenticated(deps.authenticate, 'admin');

  app.get(
    '/admin/v1/me',
    {
      config: { surface: 'admin.me', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'Who the caller is and may do', response: { 200: Me } },
      onRequest,
    },
    async (request) => {
      const { id, teamId, roles, permissions, bindings, capabilityScopes } = deps.whoAmI(callerOf(request));
      return {
        id,
        principal_id: id,
        team_id: teamId,
        name: id,
        email: `${encodeURIComponent(id)}@gateway.invalid`,
        roles: [...roles],
        permissions: [...permissions],
        effective_permissions: [...permissions],
        bindings: bindings.map((binding) => ({ ...binding })),
        capability_scopes: [...capabilityScopes],
      };
    },
  );

  app.get(
    '/admin/v1/gateway/status',
    {
      config: { surface: 'admin.gateway.status', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'How this gateway does', response: { 200: GatewayStatus } },
      onRequest,
    },
    async (request) => {
      await deps.authorizeAction('admin.gateway.status', callerOf(request), deps.factsOf(request));
      return {
        status: deps.state() === 'RUNNING' ? ('HEALTHY' as const) : ('DEGRADED' as const),
        version: deps.version,
        uptime_seconds: Math.floor(deps.uptimeSeconds()),
        region: deps.region,
        timestamp: deps.nowSeconds(),
      };
    },
  );
}
