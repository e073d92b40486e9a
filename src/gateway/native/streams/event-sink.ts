/**
 * A connection that takes events for a client, whatever carries it. What is sent on one that is closed is lost: whoever
 * must not lose it keeps it.
 */
export interface EventSink {
  /** The client has seen the stream begin: what answers its request goes there too. */
  readonly begun: boolean;
  readonly closed: boolean;
  /** Begins the stream, though there is nothing to say yet. With an id, the client can resume from there on. */
  open(id?: string): void;
  /** Begins the stream when it has not begun. `data` is one line. */
  send(data: string, id?: string): void;
  /** What readers of events do not see; nothing where the transport has no such thing. */
  comment?(text: string): void;
  /** What was sent still goes out. */
  end(): void;
  /** Calls back once, when it is closed by whomever. */
  onClose(listener: () => void): void;
}
