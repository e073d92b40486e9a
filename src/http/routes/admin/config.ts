/** The configuration as one document, out and in. */
import { Type } from '@fastify/type-provider-typebox';
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import type { ConfigSnapshots } from '../../../gateway/config-snapshot.ts';
import { type AuthenticateRequest, authenticated, callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { answered } from './answered.ts';
import { Bindings, KeptRole, NewBindings, Role } from './rbac-schemas.ts';

const Upstream = Type.Object({
  id: Type.String(),
  url: Type.Union([Type.String(), Type.Null()]),
  transport: Type.String(),
});

const Snapshot = Type.Object({
  version: Type.Literal('1.0'),
  timestamp: Type.String(),
  upstreams: Type.Array(Upstream),
  rbac: Type.Object({ roles: Type.Array(Role), bindings: Type.Array(Bindings) }),
  metadata: Type.Object({ origin: Type.String() }),
});

// What is applied may come from another gateway, or from a hand: only what is used is demanded.
const Applied = Type.Object({
  version: Type.Literal('1.0'),
  timestamp: Type.Optional(Type.Unknown()),
  upstreams: Type.Optional(Type.Array(Upstream, { maxItems: bounds.toolServersMax })),
  rbac: Type.Optional(
    Type.Object({
      roles: Type.Array(KeptRole, { maxItems: bounds.rolesMax }),
      bindings: Type.Array(NewBindings, { maxItems: bounds.roleBindingsMax }),
    }),
  ),
  metadata: Type.Optional(Type.Unknown()),
});

const Done = Type.Object({ status: Type.Literal('success'), message: Type.String(), audit_ref: Type.String() });

export interface ConfigRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly configSnapshots: ConfigSnapshots;
  readonly factsOf: FactsOf;
}

export function configRoutes(app: App, { authenticate, configSnapshots, factsOf }: ConfigRouteDeps): void {
  const tags = ['Administration'];
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/config::export',
    {
      config: { surface: 'admin.config.export', legacyErrorKey: 'detail' },
      schema: { tags, summary: 'The configuration, without secrets', response: { 200: Snapshot } },
      onRequest,
    },
    async (request) => {
      const snapshot = await configSnapshots.export({ caller: callerOf(request), facts: factsOf(request) });
      const { roles, bindings } = snapshot.rbac;
      return {
        ...snapshot,
        upstreams: [...snapshot.upstreams],
        rbac: {
          roles: roles.map((role) => ({ ...role, permissions: [...role.permissions] })),
          bindings: bindings.map((of) => ({ ...of, bindings: [...of.bindings] })),
        },
      };
    },
  );

  app.post(
    '/admin/v1/config::apply',
    {
      config: { surface: 'admin.config.apply', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'Apply a snapshot, as far as a running gateway can change',
        body: Applied,
        response: { 200: Done },
      },
      attachValidation: true,
      onRequest,
    },
    async (request, reply) => {
      if (request.validationError !== undefined) throw new TalosError('CONFIG_SNAPSHOT_INVALID');
      const asking = { caller: callerOf(request), facts: factsOf(request) };
      const { answer, auditRef } = answered(reply, await configSnapshots.apply(asking, request.body));
      return { status: 'success' as const, message: answer, audit_ref: auditRef };
    },
  );
}
