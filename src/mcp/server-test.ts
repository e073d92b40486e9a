/** A try of one tool server: connects, lists its tools, and says what happened without any credential. */
import { describeError, type ErrorCode, TalosError } from '../core/errors.ts';
import type { McpServer } from './server.ts';

export type ServerTest =
  | { readonly isGood: true; readonly tools: readonly string[] }
  | {
      readonly isGood: false;
      /** How far it came. */
      readonly step: 'connect' | 'list_tools';
      readonly code: ErrorCode;
      /** For the eyes of administrators. */
      readonly reason: string;
    };

/** Closes the server, which nobody else uses. Never fails. */
export async function testServer(server: McpServer, signal: AbortSignal): Promise<ServerTest> {
  let step: 'connect' | 'list_tools' = 'connect';
  try {
    await server.hello(signal);
    step = 'list_tools';
    const tools = await server.listTools(signal);
    return { isGood: true, tools: tools.map(({ name }) => name) };
  } catch (error) {
    const code = error instanceof TalosError ? error.code : 'INTERNAL';
    return { isGood: false, step, code, reason: describeError(error).slice(0, 500) };
  } finally {
    await server.close();
  }
}
