/**
 * Lists the tools of a server, page by page, within bounds: a list that is too long is cut and said so, one that is too
 * large is refused. Cursors are passed back as they came; a server that leads in a circle is left.
 */
import type { JsonValue } from '../../core/json.ts';
import type { Asking } from '../connection.ts';
import type { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import { rpcCodes } from '../protocol/json-rpc.ts';
import { invalidBeforeCall, UpstreamError, undispatched } from '../upstream-error.ts';

export interface ListedTools {
  readonly tools: readonly JsonValue[];
  /** Why not all tools are here. */
  readonly cut?: string;
}

/** Throws `UpstreamError`, never dispatched: no tool ran. */
export async function listTools(connection: Asking, bounds: McpBounds, deadline: Deadline): Promise<ListedTools> {
  const tools: JsonValue[] = [];
  const cursors = new Set<string>();
  let bytes = 0;
  let cursor: string | undefined;
  for (let pages = 0; pages < bounds.toolListPagesMax; pages++) {
    const page = await listPage(connection, deadline, cursor);
    if (page === undefined) return { tools, cut: 'it does not know tools/list' };
    bytes += page.bytes;
    if (bytes > bounds.toolListBytesMax) throw new UpstreamError('UPSTREAM_RESPONSE_TOO_LARGE', { dispatched: false });
    tools.push(...page.tools.slice(0, bounds.toolsPerServerMax + 1));
    if (tools.length > bounds.toolsPerServerMax)
      return { tools: tools.slice(0, bounds.toolsPerServerMax), cut: 'it has too many tools' };
    cursor = page.nextCursor;
    if (cursor === undefined) return { tools };
    if (cursors.has(cursor)) return { tools, cut: 'its pages lead in a circle' };
    cursors.add(cursor);
  }
  return { tools, cut: 'its list has too many pages' };
}

interface Page {
  readonly tools: readonly JsonValue[];
  readonly bytes: number;
  readonly nextCursor: string | undefined;
}

/** One page, or undefined from a server that has no tools at all (MCP does not require any). */
async function listPage(connection: Asking, deadline: Deadline, cursor: string | undefined): Promise<Page | undefined> {
  const answer = await connection
    .request({ method: 'tools/list', params: cursor === undefined ? {} : { cursor }, deadline })
    .catch((error: unknown) => {
      throw undispatched(error);
    });
  if (answer.kind === 'error' && answer.error.code === rpcCodes.methodNotFound) return undefined;
  if (answer.kind === 'error')
    throw invalidBeforeCall(`tools/list was answered with the JSON-RPC error ${answer.error.code}`);
  const { tools, nextCursor } = { tools: answer.result['tools'], nextCursor: answer.result['nextCursor'] };
  if (!Array.isArray(tools)) throw invalidBeforeCall('tools/list was answered without tools');
  return {
    tools,
    bytes: answer.raw.length,
    nextCursor: typeof nextCursor === 'string' && nextCursor !== '' ? nextCursor : undefined,
  };
}
