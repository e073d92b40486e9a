/** What the two kinds of connection (HTTP and stdio) have in common, and what they are made of. */
import type { Clock } from '../core/clock.ts';
import type { JsonObject } from '../core/json.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { Deadline } from './deadline.ts';
import type { ServerHello } from './hello.ts';
import type { RpcAnswer } from './json-rpc.ts';
import type { McpBounds } from './mcp-bounds.ts';
import type { SecretOf } from './upstream-secrets.ts';

export interface RpcRequest {
  readonly method: string;
  readonly params: JsonObject;
  readonly deadline: Deadline;
  /** Sent along for correlation where the transport has room for it. */
  readonly requestId?: string | undefined;
  /** Headers that mirror arguments (`x-mcp-header`), names and values in turn; used by stateless HTTP only. */
  readonly mirrorHeaders?: readonly string[] | undefined;
  /** Sees notifications that come before the answer. */
  readonly onNotification?: ((method: string, params: JsonObject) => void) | undefined;
}

export interface Connection {
  /** One request and its answer; connects and shakes hands first where needed. Rejects with `UpstreamError` only. */
  request(request: RpcRequest): Promise<RpcAnswer>;
  /** What the server says of itself; connects first where needed. Rejects with `UpstreamError` only. */
  hello(deadline: Deadline): Promise<ServerHello>;
  close(): Promise<void>;
}

export interface ConnectionOptions {
  readonly spec: McpServerSpec;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  /** Gives the secrets that `spec` refers to; absent where it refers to none. */
  readonly secretOf?: SecretOf | undefined;
  /** The server says that its tools are not what they were. */
  readonly onToolsChanged: () => void;
}
