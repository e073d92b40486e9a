-- Values that records hold only commitments to: erased by deleting the row, while the log stays what it is. One row
-- commits with its record.
CREATE TABLE log_erasable (
  event_id uuid  NOT NULL,
  key      text  NOT NULL,
  salt     bytea NOT NULL,
  value    text  NOT NULL,   -- canonical JSON; the record holds 'sha256:' and hex(sha256(salt ‖ value))
  PRIMARY KEY (event_id, key)
);
