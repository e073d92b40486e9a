-- Secrets: each value under a key of its own, which is kept under a key that is not in the database.
CREATE TABLE secret (
  name       text  PRIMARY KEY,
  secret_id  uuid  NOT NULL,           -- of this value: a new one gets a new id
  kek_id     text  NOT NULL,           -- the key that `wrapped_key` is under
  wrapped_key jsonb NOT NULL,          -- talos envelope v1 of the value's key
  envelope   jsonb NOT NULL,           -- talos envelope v1 of the value
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO state_version (topic, version) VALUES ('secrets', 0);

-- Runs that put every secret under the newest key; at most one at a time.
CREATE TABLE secret_rotation (
  op_id         uuid    PRIMARY KEY,
  status        text    NOT NULL CHECK (status IN ('RUNNING', 'COMPLETED', 'FAILED')),
  target_kek_id text    NOT NULL,
  scanned       integer NOT NULL DEFAULT 0,
  rotated       integer NOT NULL DEFAULT 0,
  failed        integer NOT NULL DEFAULT 0,
  started_at    timestamptz NOT NULL DEFAULT now(),
  seen_at       timestamptz NOT NULL DEFAULT now(),
  completed_at  timestamptz
);
