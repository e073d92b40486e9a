/**
 * Answers to what never became a request: bytes that are no HTTP, headers beyond their bound, requests that arrive too
 * slowly. There is no route and no reply object, so the answer is written to the socket, in the same shape as every other.
 */
import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, TalosError } from '../core/errors.ts';
import { errorBody } from './errors.ts';

const codes: Readonly<Record<string, ErrorCode>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
};

/** A handler for the server's `clientError`; `headers` are those of every answer. */
export function createClientErrorHandler(headers: Readonly<Record<string, string>>) {
  return (error: Error & { readonly code?: string }, socket: Socket): void => {
    // A connection that was reset has nobody to be answered.
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else socket.end(answerText(codes[error.code ?? ''] ?? 'INVALID_REQUEST', headers), () => socket.destroy());
  };
}

function answerText(code: ErrorCode, headers: Readonly<Record<string, string>>): string {
  const error = new TalosError(code);
  const requestId = randomUUID();
  const body = JSON.stringify(errorBody(error, requestId, 'detail'));
  const fields = {
    ...headers,
    'x-request-id': requestId,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}\r\n${lines.join('')}\r\n${body}`;
}
