/** Pins of tools: listed, looked at with what changed, approved, rejected and forgotten. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { ToolPin } from '../../../core/tool-pin.ts';
import { type ManagePins, stateOf } from '../../../gateway/manage-pins.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { AuditRef, answered, withAuditRef } from './answered.ts';

const State = Type.Union([Type.Literal('pinned'), Type.Literal('held'), Type.Literal('rejected')], {
  description: '`pinned`; `held`: its server gives another definition, which waits; `rejected`: it was rejected.',
});

const Pin = Type.Object({
  server_id: Type.String(),
  tool_name: Type.String(),
  state: State,
  definition_hash: Type.String({ description: 'Of the definition that may be used.' }),
  pinned_at: Type.String(),
  held_hash: Type.Optional(Type.String({ description: 'Of the definition that waits, or was rejected.' })),
  held_at: Type.Optional(Type.String()),
});
const Looked = Type.Intersect([
  Pin,
  Type.Object({
    definition: Type.Optional(Type.String({ description: 'The approved definition, to read.' })),
    diff: Type.Optional(
      Type.String({ description: 'A unified diff to the other one; what cannot be seen is spelled out.' }),
    ),
  }),
]);
const Decided = withAuditRef(Pin);
const Forgotten = Type.Object({ success: Type.Boolean(), forgotten: Type.Integer(), audit_ref: AuditRef });

const ServerId = Type.String({ minLength: 1, maxLength: 255 });
const ToolName = Type.String({ minLength: 1, maxLength: bounds.toolNameCharsMax });
const Filter = Type.Object({
  server_id: Type.Optional(ServerId),
  tool_name: Type.Optional(ToolName),
  state: Type.Optional(State),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: bounds.pinsPageMax, default: bounds.pinsPageMax })),
  offset: Type.Optional(Type.Integer({ minimum: 0, default: 0 })),
});
const Decision = Type.Object(
  {
    definition_hash: Type.String({
      pattern: '^sha256:[0-9a-f]{64}$',
      description: 'What is decided on; 409 when another definition waits by now.',
    }),
  },
  { additionalProperties: false },
);
const tool = Type.Object({ server_id: ServerId, tool_name: ToolName });

export interface PinRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly managePins: ManagePins;
  readonly factsOf: FactsOf;
}

const tags = ['Administration'];
const legacyErrorKey = 'detail';
const path = '/admin/v1/mcp/pins';

export function pinRoutes(app: App, deps: PinRouteDeps): void {
  readRoutes(app, deps);
  decisionRoutes(app, deps);
  forgetRoutes(app, deps);
}

function readRoutes(app: App, { authenticate, managePins, factsOf }: PinRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');
  app.get(
    path,
    {
      config: { surface: 'admin.mcp.pins.list', legacyErrorKey },
      schema: {
        tags,
        summary: 'The pins of tools',
        querystring: Filter,
        response: { 200: Type.Object({ pins: Type.Array(Pin), total: Type.Integer() }) },
      },
      onRequest,
    },
    async (request) => {
      const { server_id: serverId, tool_name: toolName, state, limit = bounds.pinsPageMax, offset = 0 } = request.query;
      const pins = await managePins.list(askerOf(request, factsOf), {
        ...(serverId === undefined ? {} : { serverId }),
        ...(toolName === undefined ? {} : { toolName }),
        ...(state === undefined ? {} : { state }),
      });
      return { pins: pins.slice(offset, offset + limit).map(shown), total: pins.length };
    },
  );
  app.get(
    `${path}/:server_id/:tool_name`,
    {
      config: { surface: 'admin.mcp.pins.get', legacyErrorKey },
      schema: { tags, summary: 'A pin, and how what waits differs from it', params: tool, response: { 200: Looked } },
      onRequest,
    },
    async (request) => {
      const { server_id: serverId, tool_name: toolName } = request.params;
      const { pin, definition, diff } = await managePins.get(askerOf(request, factsOf), serverId, toolName);
      return {
        ...shown(pin),
        ...(definition === undefined ? {} : { definition }),
        ...(diff === undefined ? {} : { diff }),
      };
    },
  );
}

function decisionRoutes(app: App, { authenticate, managePins, factsOf }: PinRouteDeps): void {
  const decisions = [
    { verb: 'approve', surface: 'admin.mcp.pins.approve', summary: 'Let the definition that waits be used' },
    { verb: 'reject', surface: 'admin.mcp.pins.reject', summary: 'Stay with the approved definition' },
  ] as const;
  for (const { verb, surface, summary } of decisions) {
    app.post(
      `${path}/:server_id/:tool_name/${verb}`,
      {
        config: { surface, legacyErrorKey },
        schema: { tags, summary, params: tool, body: Decision, response: { 200: Decided } },
        onRequest: authenticated(authenticate, 'admin'),
      },
      async (request, reply) => {
        const { server_id: serverId, tool_name: toolName } = request.params;
        const decision = { serverId, toolName, definitionHash: request.body.definition_hash };
        return answered(reply, await managePins[verb](askerOf(request, factsOf), decision), shown);
      },
    );
  }
}

function forgetRoutes(app: App, { authenticate, managePins, factsOf }: PinRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');
  const response = { 200: Forgotten };
  app.delete(
    `${path}/:server_id/:tool_name`,
    {
      config: { surface: 'admin.mcp.pins.forget', legacyErrorKey },
      schema: { tags, summary: 'Forget a pin: what is seen next is pinned', params: tool, response },
      onRequest,
    },
    async (request, reply) => {
      const { server_id: serverId, tool_name: toolName } = request.params;
      const asker = askerOf(request, factsOf);
      const forgotten = await managePins.forget(asker, serverId, toolName);
      return answered(reply, forgotten, (count) => ({ success: true, forgotten: count }));
    },
  );
  app.delete(
    `${path}/:server_id`,
    {
      config: { surface: 'admin.mcp.pins.forget.all', legacyErrorKey },
      schema: {
        tags,
        summary: 'Forget all pins of a server',
        params: Type.Object({ server_id: ServerId }),
        response,
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      const forgotten = await managePins.forget(asker, request.params.server_id);
      return answered(reply, forgotten, (count) => ({ success: true, forgotten: count }));
    },
  );
}

function shown(pin: ToolPin): Static<typeof Pin> {
  const { serverId, toolName, definitionHash, pinnedAt, held } = pin;
  return {
    server_id: serverId,
    tool_name: toolName,
    state: stateOf(pin),
    definition_hash: definitionHash,
    pinned_at: pinnedAt.toISOString(),
    ...(held === undefined ? {} : { held_hash: held.definitionHash, held_at: held.since.toISOString() }),
  };
}
