/** Whether a server's answer to a call says that the list of its tools, as it is believed, is out of date. */
import type { JsonObject } from '../../core/json.ts';
import { type RpcAnswer, rpcCodes } from '../protocol/json-rpc.ts';

/** Whether the server says, in one of the ways in use, that the tool is not what its list said. */
export function contradictsCatalog(answer: RpcAnswer): boolean {
  if (answer.kind === 'result') return answer.result['isError'] === true && unknownTool.test(firstText(answer.result));
  const { code, message } = answer.error;
  return (
    code === rpcCodes.methodNotFound ||
    code === rpcCodes.headerMismatch ||
    (code === rpcCodes.invalidParams && unknownTool.test(message))
  );
}

const unknownTool = /unknown tool|tool .{0,600}not found|no such tool/i;

function firstText(result: JsonObject): string {
  const content = result['content'];
  const first: unknown = Array.isArray(content) ? content[0] : undefined;
  const text = typeof first === 'object' && first !== null ? (first as JsonObject)['text'] : undefined;
  return typeof text === 'string' ? text.slice(0, 1000) : '';
}
