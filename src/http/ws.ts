/**
 * WebSockets as requests like any other: an upgrade passes the router with all its hooks (bounds, limits, credentials,
 * shutdown), and a route either accepts it or answers.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type WebSocket, WebSocketServer } from 'ws';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import type { App } from './fastify.ts';

export interface AcceptedSocket {
  readonly ws: WebSocket;
  /** Beneath it: for frames that are made already. Nothing is compressed, so a frame may follow any other. */
  readonly raw: Duplex;
}

interface Upgrade {
  readonly socket: Duplex;
  readonly head: Buffer;
}

const upgrades = new WeakMap<IncomingMessage, Upgrade>();

const server = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: bounds.streamMessageBytesMax,
});

/** Whether the client asks for a WebSocket. Other upgrades, such as to HTTP/2, are declined by going on without. */
export function isWebSocketUpgrade(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** From now on upgrades reach the routes of `app`. */
export function routeUpgrades(app: App): void {
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    upgrades.set(request, { socket, head });
    socket.on('error', () => socket.destroy());
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    // Answered, and not upgraded.
    response.once('finish', () => socket.end());
    app.routing(request, response);
  });
}

/**
 * Takes the connection over. Resolves with undefined when the client did not keep to the handshake, which it was told.
 * Throws `UPGRADE_REQUIRED` for a request that is no upgrade.
 */
export async function acceptWebSocket(
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<AcceptedSocket | undefined> {
  const upgrade = upgrades.get(request.raw);
  if (upgrade === undefined) {
    reply.header('upgrade', 'websocket');
    throw new TalosError('UPGRADE_REQUIRED');
  }
  const { socket, head } = upgrade;
  reply.hijack();
  request.isStreaming = true;
  // The response is not held for as long as the connection lasts; for those who count requests it is over.
  reply.raw.detachSocket(socket as Socket);
  reply.raw.emit('close');
  return await new Promise((resolve) => {
    socket.once('close', () => resolve(undefined));
    server.handleUpgrade(request.raw, socket, head, (ws) => resolve({ ws, raw: socket }));
  });
}
