-- Keys under which clients submitted events: what was submitted, and which records it became. A row commits with its
-- records; it is written and looked up under the head's lock, so no key ever stands for two submissions.
CREATE TABLE log_idempotency (
  key_hash    bytea   PRIMARY KEY,    -- sha256 of whose key it is, for which surface, and the key
  body_hash   bytea   NOT NULL,       -- sha256 of the canonical body
  first_seq   bigint  NOT NULL,
  records     integer NOT NULL,
  reserved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX log_idempotency_age ON log_idempotency (reserved_at);
