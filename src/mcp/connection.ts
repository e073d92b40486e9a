/** What the two kinds of connection (HTTP and stdio) have in common, and what they are made of. */
import type { Clock } from '../core/clock.ts';
import type { JsonObject } from '../core/json.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { UpstreamCredential } from './credentials/upstream-credential.ts';
import type { SecretOf } from './credentials/upstream-secrets.ts';
import type { Deadline } from './deadline.ts';
import type { McpBounds } from './mcp-bounds.ts';
import type { ServerHello } from './protocol/hello.ts';
import type { RpcAnswer } from './protocol/json-rpc.ts';
import type { ClientHello, Peer } from './protocol/peer.ts';
import type { Listening, ListenOptions, SessionOptions } from './upstream-session.ts';

export interface RpcRequest {
  readonly method: string;
  readonly params: JsonObject;
  readonly deadline: Deadline;
  /** Sent along for correlation where the transport has room for it. */
  readonly requestId?: string | undefined;
  /** Headers that mirror arguments (`x-mcp-header`), names and values in turn; used by stateless HTTP only. */
  readonly mirrorHeaders?: readonly string[] | undefined;
  /** The client to tell a stateless server of; the gateway itself where there is none. */
  readonly client?: ClientHello | undefined;
  readonly peer?: Peer | undefined;
  /** Of the client's `_meta`. */
  readonly meta?: JsonObject | undefined;
}

/** Whatever a request can be sent through. */
export interface Asking {
  /** One request and its answer. Rejects with `UpstreamError` only. */
  request(request: RpcRequest): Promise<RpcAnswer>;
}

/** What all clients of a server share. It connects and shakes hands when it is first used, and again after a failure. */
export interface Connection extends Asking {
  /** What the server says of itself. Rejects with `UpstreamError` only. */
  hello(deadline: Deadline): Promise<ServerHello>;
  /** A session of one client alone; undefined where the server has none to give. Rejects with `UpstreamError` only. */
  openSession(options: OwnSessionOptions): Promise<OwnSession | undefined>;
  /** A stream of changes of one client alone; undefined where they come without being asked for. */
  listen(options: ListenOptions, deadline: Deadline): Promise<Listening | undefined>;
  /** Changes are waited for: the stream that brings them stays open as far as the server has one. */
  attend(deadline: Deadline): Promise<void>;
  /** Whether the server was last met in the stateless era. */
  readonly isStateless: boolean;
  close(): Promise<void>;
}

export interface OwnSessionOptions extends Omit<SessionOptions, 'signal' | 'onToolsChanged'> {
  readonly deadline: Deadline;
  /** In place of the connection's. */
  readonly onChange: ConnectionOptions['onChange'];
}

export interface OwnSession extends Asking {
  readonly hello: ServerHello;
  notify(method: string, params: JsonObject): void;
  close(): Promise<void>;
}

export interface ConnectionOptions {
  readonly spec: McpServerSpec;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  /** Gives the secrets that `spec` refers to; absent where it refers to none. */
  readonly secretOf?: SecretOf | undefined;
  /** What is shown to the server beside its configured headers. */
  readonly credential?: UpstreamCredential | undefined;
  /** One of its lists is not what it was. */
  readonly onChange: (method: string, params: JsonObject) => void;
  /** Whether anybody waits for changes. */
  readonly isAttended: () => boolean;
}
