/**
 * HTTP attestation v1: what the holder of an Ed25519 key signs to prove that a request is theirs. The bytes are joined
 * by line feeds, which no part can hold.
 */

export interface AttestedParts {
  /** Canonical JSON (RFC 8785) of the body, or the empty string where there is none. */
  readonly body: string;
  readonly method: string;
  /** Path and query, exactly as sent. */
  readonly target: string;
  readonly nonce: string;
  /** Unix seconds, as sent. */
  readonly timestamp: string;
  /** The surface that the server finds the request to be for; never what the client says. */
  readonly opcode: string;
}

/** The bytes that are signed. */
export function attestationInput({ body, method, target, nonce, timestamp, opcode }: AttestedParts): Buffer {
  return Buffer.from([body, method, target, nonce, timestamp, opcode].join('\n'), 'utf8');
}
