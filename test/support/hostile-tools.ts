/** Tools that mean ill, for the scripts of tool servers. */
import type { ServerResponse } from 'node:http';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { event, openEvents, type Received, type Respond, said, sendJson } from './mcp-scripted.ts';

const answerTo = ({ message }: Received, text: string): JsonObject => ({
  jsonrpc: '2.0',
  id: message['id'] ?? null,
  result: said(text),
});

/** Writes `next()` again and again until the other side has had enough. */
export function flood(response: ServerResponse, next: () => string, everyMs: number): void {
  const timer = setInterval(() => response.write(next()), everyMs);
  response.on('close', () => clearInterval(timer));
}

function redirect(location: string): Respond {
  return (_, response) => void response.writeHead(307, { location }).end();
}

export const notification = (method: string, params: JsonObject = {}): JsonValue => ({
  jsonrpc: '2.0',
  method,
  params,
});

let asked = 0;

const samplingRequest = (): JsonValue => ({
  jsonrpc: '2.0',
  id: `of the server ${++asked}`,
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: 'Who are you?' } }], maxTokens: 10 },
});

/** What its tools do, and what a caller is told. `bait` is an address that nobody may be led to. */
export function tricksWith(bait: () => string): Record<string, readonly [Respond, ErrorCode]> {
  return {
    'drips its headers': [
      (_, response) => {
        const { socket } = response;
        socket?.write('HTTP/1.1 200 OK\r\n');
        const timer = setInterval(() => socket?.write('x-more: 1\r\n'), 20);
        socket?.on('error', () => undefined).on('close', () => clearInterval(timer));
      },
      'UPSTREAM_TIMEOUT',
    ],
    'drips its body': [
      (_, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        flood(response, () => ' ', 20);
      },
      'UPSTREAM_TIMEOUT',
    ],
    'sends half an event and waits': [
      (received, response) => {
        openEvents(response);
        response.write(event(answerTo(received, 'half')).slice(0, -10));
      },
      'UPSTREAM_TIMEOUT',
    ],
    'sends half an event and ends': [
      (received, response) => {
        openEvents(response);
        response.end(event(answerTo(received, 'half')).slice(0, -10));
      },
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'sends an event without end': [
      (_, response) => {
        openEvents(response);
        const chunk = 'x'.repeat(64 * 1024);
        const more = () => {
          while (!response.destroyed && response.write(chunk));
        };
        response.write('data: ');
        response.on('drain', more);
        more();
      },
      'UPSTREAM_RESPONSE_TOO_LARGE',
    ],
    'answers another id': [
      (_, response) => sendJson(response, { jsonrpc: '2.0', id: 4_711, result: said('not yours') }),
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'answers another id in an event': [
      (_, response) => {
        openEvents(response);
        response.end(event({ jsonrpc: '2.0', id: 4_711, result: said('not yours') }));
      },
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'answers another call before this one': [
      (received, response) => {
        openEvents(response);
        response.write(event({ jsonrpc: '2.0', id: 4_711, result: said('not yours') }));
        response.end(event(answerTo(received, 'first')));
      },
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'redirects to the metadata address': [
      redirect('http://169.254.169.254/latest/meta-data/iam/security-credentials/'),
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'redirects to the metadata address in other words': [
      redirect('http://[::ffff:a9fe:a9fe]/latest/meta-data/'),
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'redirects to a service of this machine': [
      (received, response) => redirect(`${bait()}/admin`)(received, response),
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'crashes in the middle of a call': [(_, response) => void response.socket?.destroy(), 'UPSTREAM_UNAVAILABLE'],
    'crashes in the middle of its answer': [
      (_, response) => {
        openEvents(response);
        response.write('data: {"jsonrpc"');
        setTimeout(() => response.socket?.destroy(), 20);
      },
      'UPSTREAM_INVALID_RESPONSE',
    ],
    'notifies without end': [
      (_, response) => {
        openEvents(response);
        flood(response, () => event(notification('notifications/message', { level: 'info', data: 'more' })), 1);
      },
      'UPSTREAM_TIMEOUT',
    ],
    'reports progress without end': [
      (received, response) => {
        openEvents(response);
        const meta = (received.message['params'] as JsonObject)['_meta'] as JsonObject | undefined;
        const progressToken = meta?.['progressToken'] ?? 'nobody named one';
        let progress = 0;
        flood(
          response,
          () => event(notification('notifications/progress', { progressToken, progress: ++progress })),
          1,
        );
      },
      'UPSTREAM_TIMEOUT',
    ],
    'asks without end': [
      (_, response) => {
        openEvents(response);
        flood(response, () => event(samplingRequest()), 5);
      },
      'UPSTREAM_TIMEOUT',
    ],
  };
}

/** What it does beside a good answer. */
export const oddities: Record<string, Respond> = {
  'answers twice': (received, response) => {
    openEvents(response);
    response.write(event(answerTo(received, 'first')));
    response.end(event(answerTo(received, 'second')));
  },
  'answers with an error after the answer': (received, response) => {
    openEvents(response);
    response.write(event(answerTo(received, 'first')));
    response.end(event({ jsonrpc: '2.0', id: received.message['id'] ?? null, error: { code: -1, message: 'or not' } }));
  },
};
