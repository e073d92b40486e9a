/** A client's own session with a tool server, and what a client may listen to without one. */
import type { JsonObject } from '../core/json.ts';
import type { ServerHello } from './protocol/hello.ts';
import type { ClientHello, Peer } from './protocol/peer.ts';
import type { CatalogTool } from './tools/catalog-tool.ts';
import type { RelayedRequest, ToolCall, UpstreamAnswer } from './upstream-call.ts';

export interface SessionOptions {
  /** Whose it is, in words that nobody else shares: one client alone never has all the sessions of a server. */
  readonly owner?: string;
  readonly client: ClientHello;
  /** One of the session era: what the client speaks. */
  readonly protocolVersion: string;
  /** For what belongs to no request, and for requests that name no peer of their own. */
  readonly peer: Peer;
  /**
   * Told when the server shows other tools in the session than it did before, or than it shows everybody. Without it nobody
   * looks what is shown there.
   */
  readonly onToolsChanged?: () => void;
  /** Told once when the server's side of the session is gone; not after `close`. */
  readonly onLost: (reason: string) => void;
  /** Ends the opening; an open session is ended by `close`. */
  readonly signal: AbortSignal;
}

/** Tools by one of their lists. Throws `UpstreamError`, never dispatched. */
export interface ToolSource {
  catalogTools(signal: AbortSignal): Promise<readonly CatalogTool[]>;
  tool(name: string, signal: AbortSignal): Promise<CatalogTool | undefined>;
  /** The list may be out of date: the next use fetches it. */
  doubt(): void;
}

/** The methods throw `UpstreamError` as those of the server do. */
export interface UpstreamSession {
  readonly hello: ServerHello;
  /** As the server shows them in it; absent where they are everybody's, or nobody wants to know. */
  readonly tools?: ToolSource | undefined;
  callTool(call: ToolCall): Promise<UpstreamAnswer>;
  relay(request: RelayedRequest): Promise<UpstreamAnswer>;
  /** Tells the server something; whether it takes it is its own affair. */
  notify(method: string, params: JsonObject): void;
  close(): Promise<void>;
}

export interface ListenOptions {
  /** The `notifications` of `subscriptions/listen`. */
  readonly filter: JsonObject;
  /** Must not throw. */
  readonly onNotification: (method: string, params: JsonObject) => void;
  /** Told once when the server ends it; not after `signal`. */
  readonly onEnd?: () => void;
  readonly signal: AbortSignal;
}

export interface Listening {
  /** What of the filter the server honours. */
  readonly acknowledged: JsonObject;
}
