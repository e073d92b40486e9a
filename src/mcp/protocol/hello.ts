/** How a tool server introduces itself, in either protocol era. */
import { isJsonObject, type JsonObject } from '../../core/json.ts';

/** What a server says of itself when it is first spoken to. */
export interface ServerHello {
  /** By name: `tools`, `resources`, `prompts`, `completions` and the rest. */
  readonly capabilities: JsonObject;
  readonly serverInfo?: JsonObject;
  readonly instructions?: string;
  /** Absent of a server without MCP's handshake. */
  readonly era?: 'session' | 'stateless';
}

/** What is said of a server that was never asked what it can do. */
export const onlyTools: ServerHello = { capabilities: { tools: {} } };

/** Where results of the stateless era tell which server they are of. */
export const serverInfoKey = 'io.modelcontextprotocol/serverInfo';

/** Reads the result of `initialize` or `server/discover`; what is not of its type is not there. */
export function helloFrom(result: JsonObject, era: 'session' | 'stateless'): ServerHello {
  const [capabilities, instructions, meta] = [result['capabilities'], result['instructions'], result['_meta']];
  const named = era === 'stateless' && isJsonObject(meta) ? meta[serverInfoKey] : undefined;
  const serverInfo = named ?? result['serverInfo'];
  return {
    capabilities: isJsonObject(capabilities) ? capabilities : {},
    ...(isJsonObject(serverInfo) ? { serverInfo } : {}),
    ...(typeof instructions === 'string' ? { instructions } : {}),
    era,
  };
}
