/** A two-way stream of messages to a tool server, as a process or the transport of 2024-11-05 has it. It lives once. */
import type { Deadline } from '../deadline.ts';
import type { UpstreamError } from '../upstream-error.ts';

export interface WireEvents {
  /** Whether the handshake is not over yet. */
  readonly isStarting: () => boolean;
  readonly onMessage: (raw: Buffer) => void;
  /** A message passed the bound: what follows cannot be trusted. */
  readonly onTooLarge: () => void;
  /** Called exactly once, after the last message. */
  readonly onOver: (reason: string) => void;
}

export interface Wire {
  /** `onFailure` is called, at once or later, when the message is not sent. */
  send(message: string, onFailure: (error: UpstreamError) => void): void;
  /** Ends it at once. */
  kill(): void;
  /** Ends it in good order. Resolves when it is over. */
  stop(): Promise<void>;
}

/** Rejects with `UpstreamError`, not dispatched. */
export type OpenWire = (events: WireEvents, deadline: Deadline) => Promise<Wire>;
