-- Capabilities that count no longer. A row commits with the record that says who revoked it and why; it is written under
-- the head's lock, so the ids are in commit order and whoever follows them misses none.
CREATE TABLE capability_revocation (
  revocation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind          text   NOT NULL CHECK (kind IN ('hash', 'id')),
  value         text   NOT NULL CHECK (length(value) BETWEEN 1 AND 200),
  event_id      uuid   NOT NULL,
  revoked_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (kind, value)
);
