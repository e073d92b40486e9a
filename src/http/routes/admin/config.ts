/** The configuration as one document, out and in. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import type { ConfigSnapshots } from '../../../gateway/config-snapshot.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { answered } from './answered.ts';
import { Bindings, KeptBindings, KeptRole, Role } from './rbac-schemas.ts';

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
      bindings: Type.Array(KeptBindings, { maxItems: bounds.roleBindingsMax }),
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
      const snapshot = await configSnapshots.export(askerOf(request, factsOf));
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
        description:
          'Replaces all roles but the built-in ones, and all bindings: what the snapshot does not have is removed. A snapshot with other `upstreams` than the gateway has is refused as a whole (409), because tool servers are of the settings or of `/admin/v1/mcp/servers`; leave them out to apply roles alone.',
        body: Applied,
        response: { 200: Done },
      },
      attachValidation: true,
      // What a gateway exports it also takes.
      bodyLimit: bounds.batchBodyBytesMax,
      onRequest,
    },
    async (request, reply) => {
      if (request.validationError !== undefined) throw new TalosError('CONFIG_SNAPSHOT_INVALID');
      const asker = askerOf(request, factsOf);
      const applied = await configSnapshots.apply(asker, request.body);
      return answered(reply, applied, (message) => ({ status: 'success' as const, message }));
    },
  );
}
