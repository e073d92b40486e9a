-- What a chat session is bound to, so that any gateway on this database knows it. Neither ids nor capabilities are kept:
-- the key is a hash of owner and session id, and the verified claims are no credential without their signature.
CREATE TABLE chat_session (
  key_hash   bytea       PRIMARY KEY CHECK (octet_length(key_hash) = 32),
  capability jsonb       NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX chat_session_expiry ON chat_session (expires_at);
