/** A peer that speaks the stream's protocol as a test tells it to, for what no gateway does when it is asked to. */
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { cursorOf } from '../../src/core/cursor.ts';
import type { JsonObject } from '../../src/core/json.ts';

export interface ScriptedPeer {
  readonly url: string;
  /** What clients said, over all connections. */
  readonly heard: JsonObject[];
  readonly close: () => Promise<void>;
}

/** `onInit` is told how many connections there were before. */
export async function startScriptedPeer(
  onInit: (say: (message: object) => void, connection: number, socket: WebSocket) => void,
): Promise<ScriptedPeer> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((listening) => server.once('listening', listening));
  const heard: JsonObject[] = [];
  let connections = 0;
  server.on('connection', (socket) => {
    const connection = connections++;
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as JsonObject;
      heard.push(message);
      if (message['type'] === 'init') onInit((said) => socket.send(JSON.stringify(said)), connection, socket);
    });
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    heard,
    close: () =>
      new Promise((closed) => {
        for (const socket of server.clients) socket.terminate();
        server.close(() => closed());
      }),
  };
}

/** The id of the event number `n` of a log that a peer makes up. */
export function idOf(n: number): string {
  return `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`;
}

export function acknowledgement(n: number, intervalMs = 60_000): object {
  return {
    type: 'init_ack',
    session_id: 'scripted',
    heartbeat_interval_ms: intervalMs,
    last_cursor: cursorOf(idOf(n)),
  };
}

export function eventMessage(n: number): object {
  return { type: 'event', event: { event_id: idOf(n), n }, cursor: cursorOf(idOf(n)) };
}
