-- How often capabilities under `max_calls` were used: a row is counted up with the intent of each call, under the head's
-- lock, so that no process and no crash lets one call more through.
CREATE TABLE capability_use (
  link_hash   bytea  PRIMARY KEY,   -- of the capability whose constraint it is
  used        bigint NOT NULL,
  expires_sec bigint NOT NULL       -- Unix time; of no use after it
) WITH (fillfactor = 50);
CREATE INDEX capability_use_age ON capability_use (expires_sec);
