/**
 * The log as C2SP tlog-tiles, under `/log`, and proofs in the words of older clients (`/root`, `/proof/{event_id}`).
 * Any client of transparency logs reads these; the paths of tiles are those of the specification.
 */

import type { FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { encodeBase64 } from '../../../core/base64.ts';
import { TalosError } from '../../../core/errors.ts';
import { type Receipt, receiptToJson, receiptToTlogProof } from '../../../core/receipt.ts';
import { parseTilePath, type TileName } from '../../../core/tile.ts';
import { formatTlogProof } from '../../../core/tlog-proof.ts';
import type { ReadLog } from '../../../gateway/read-log.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

export interface LogRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly readLog: ReadLog;
  readonly factsOf: FactsOf;
}

const tags = ['Log'];
const Base64 = Type.String({ contentEncoding: 'base64' });
const ReceiptBody = Type.Unsafe<object | string>({ type: 'object', additionalProperties: true });
const Bytes = Type.Unsafe<Buffer>({ type: 'string', format: 'binary' });
const EventParams = Type.Object({ event_id: Type.String() });
const ProofQuery = Type.Object({
  cosigned: Type.Optional(
    Type.Boolean({ description: 'Wait, for a bounded time, for a checkpoint that witnesses have cosigned too.' }),
  ),
});

const Keys = Type.Object({
  keys: Type.Array(Type.String(), { description: 'Every key that has signed the log, oldest first.' }),
  retired: Type.Array(Type.String(), {
    description: 'Those of them that sign no more: believe them for checkpoints from their time only.',
  }),
});

// A full tile is what it is for ever.
const immutable = 'public, max-age=31536000, immutable';

export function logRoutes(app: App, deps: LogRouteDeps): void {
  checkpointRoutes(app, deps);
  tileRoutes(app, deps);
  proofRoutes(app, deps);
}

function checkpointRoutes(app: App, { readLog }: LogRouteDeps): void {
  app.get(
    '/log/checkpoint',
    {
      config: { surface: 'log.checkpoint' },
      schema: { tags, summary: 'The newest checkpoint, a C2SP signed note', response: { 200: Type.String() } },
    },
    async (_, reply) => reply.type('text/plain; charset=utf-8').send((await readLog.checkpoint()).note),
  );

  app.get(
    '/log/keys',
    {
      config: { surface: 'log.keys' },
      schema: {
        tags,
        summary: 'The verifier keys of the log; get them by another way too before relying on them',
        response: { 200: Keys },
      },
    },
    () => readLog.verifierKeys(),
  );

  app.get(
    '/log/consistency',
    {
      config: { surface: 'log.consistency' },
      schema: {
        tags,
        summary: 'The proof that the log of `from` records is a prefix of the log of `to`',
        querystring: Type.Object({ from: Type.Integer(), to: Type.Integer() }),
        response: {
          200: Type.Object({ from: Type.Integer(), to: Type.Integer(), alg: Type.String(), proof: Type.Array(Base64) }),
        },
      },
    },
    async ({ query: { from, to } }) => {
      const proof = await readLog.consistency(from, to);
      return { from, to, alg: 'rfc6962-sha256', proof: proof.map(encodeBase64) };
    },
  );

  app.get(
    '/root',
    {
      config: { surface: 'log.root', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'The root of the newest checkpoint',
        response: {
          200: Type.Object({
            root: Type.String(),
            size: Type.Integer(),
            alg: Type.String(),
            checkpoint: Type.String(),
          }),
        },
      },
    },
    async () => {
      const { root, size, note } = await readLog.checkpoint();
      return { root: root.toString('hex'), size, alg: 'rfc6962-sha256', checkpoint: note };
    },
  );
}

function tileRoutes(app: App, deps: LogRouteDeps): void {
  const { readLog, factsOf } = deps;

  app.get(
    '/log/tile/:level/*',
    {
      config: { surface: 'log.tile' },
      schema: { tags, summary: 'A tile of hashes', response: { 200: Bytes } },
    },
    async (request, reply) => {
      const name = tileName(request);
      const { level } = name;
      if (level === 'entries') throw noSuchTile();
      const tile = await readLog.tile({ ...name, level });
      return reply.type('application/octet-stream').header('cache-control', immutable).send(tile);
    },
  );

  app.get(
    '/log/tile/entries/*',
    {
      config: { surface: 'log.entries' },
      schema: { tags, summary: 'An entry bundle: records', response: { 200: Bytes } },
      onRequest: authenticated(deps.authenticate, 'open'),
    },
    async (request, reply) => {
      const { index, width } = tileName(request);
      const bundle = await readLog.entries({ ...askerOf(request, factsOf), index, width });
      return reply.type('application/octet-stream').send(bundle);
    },
  );
}

function tileName(request: FastifyRequest): TileName {
  const path = (request.raw.url ?? '').split('?', 1)[0] ?? '';
  const name = parseTilePath(path.slice('/log/'.length));
  if (name === undefined) throw noSuchTile();
  return name;
}

function noSuchTile(): TalosError {
  return new TalosError('NOT_FOUND', { message: 'This is not the path of a tile.' });
}

function proofRoutes(app: App, deps: LogRouteDeps): void {
  const onRequest = authenticated(deps.authenticate, 'open');

  app.get(
    '/api/events/:event_id/proof',
    {
      config: { surface: 'events.proof', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'The receipt of a record: it verifies offline',
        description: 'As JSON, or with `Accept: text/plain` as a C2SP tlog-proof.',
        params: EventParams,
        querystring: ProofQuery,
        response: { 200: ReceiptBody },
      },
      onRequest,
    },
    async (request, reply) => {
      const receipt = await receiptFor(deps, request, request.params, request.query.cosigned);
      const wantsText = request.headers.accept?.startsWith('text/plain') === true;
      if (wantsText) return reply.type('text/plain; charset=utf-8').send(formatTlogProof(receiptToTlogProof(receipt)));
      return receiptToJson(receipt);
    },
  );

  app.get(
    '/proof/:event_id',
    {
      config: { surface: 'log.proof', legacyErrorKey: 'detail' },
      schema: {
        tags,
        summary: 'The same with the keys of older clients',
        params: EventParams,
        response: { 200: ReceiptBody },
      },
      onRequest,
    },
    async (request) => legacyProof(await receiptFor(deps, request, request.params), request.params.event_id),
  );
}

async function receiptFor(
  deps: LogRouteDeps,
  request: FastifyRequest,
  { event_id: eventId }: Static<typeof EventParams>,
  cosigned = false,
): Promise<Receipt> {
  return await deps.readLog.receipt({ ...askerOf(request, deps.factsOf), eventId, cosigned });
}

function legacyProof(receipt: Receipt, eventId: string): object {
  return {
    ...receiptToJson(receipt),
    event_id: eventId,
    alg: 'rfc6962-sha256',
    index: receipt.leafIndex,
    size: receipt.treeSize,
    path: receipt.proof.map((hash) => hash.toString('hex')),
  };
}
