-- What may be used once, by whichever gateway sees it first: nonces of stream sessions, and tickets for those that cannot
-- send headers. A ticket's `sealed` is encrypted under the ticket, of which there is only the hash here.
CREATE TABLE stream_once (
  hash       bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
  expires_at timestamptz NOT NULL,
  sealed     bytea
);
CREATE INDEX stream_once_age ON stream_once (expires_at);
