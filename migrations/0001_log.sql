-- The audit log: its head (the only serialisation point), its records, and the last batch of each writer.

CREATE TABLE log_head (
  log_id       smallint PRIMARY KEY CHECK (log_id = 1),
  next_seq     bigint   NOT NULL,
  last_ms      bigint   NOT NULL,  -- millisecond and counter of the last event id, so that ids never run backwards
  last_counter integer  NOT NULL,
  tree         bytea    NOT NULL,  -- compact range of the RFC 6962 tree over records 0 to next_seq - 1
  root         bytea    NOT NULL,
  origin       text                -- the log's name in checkpoints; set once, by the first gateway that signs
) WITH (fillfactor = 10);          -- one row, updated by every batch: room for updates in place

INSERT INTO log_head (log_id, next_seq, last_ms, last_counter, tree, root)
VALUES (1, 0, 0, 0, '', sha256(''));

-- A writer has at most one batch in flight, so its last one is all that an ambiguous commit needs to be resolved by.
CREATE TABLE log_writer (
  writer_id uuid    PRIMARY KEY,
  batch_id  uuid    NOT NULL,
  first_seq bigint  NOT NULL,
  size      integer NOT NULL,
  seen_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- `canon` is the record, byte for byte as it was hashed. All other columns but `details` are a projection of it.
CREATE TABLE audit_event (
  seq            bigint PRIMARY KEY,
  event_id       uuid   NOT NULL UNIQUE,
  ts             timestamptz NOT NULL,
  outcome        text   NOT NULL,
  surface_id     text   NOT NULL,
  team_id        text,
  agent_id       text,
  session_id     text,
  correlation_id text   NOT NULL,
  event_type     text,
  server_id      text,
  tool           text,
  is_intent      boolean NOT NULL,    -- what was about to be done; not counted in statistics
  leaf_hash      bytea  NOT NULL,
  canon          text   NOT NULL,
  details        text
);

-- Each index costs every write, so there is one only where a filter is selective; the others are cheap scans from the end.
CREATE INDEX audit_event_session     ON audit_event (session_id, seq) WHERE session_id IS NOT NULL;
CREATE INDEX audit_event_correlation ON audit_event (correlation_id);
CREATE INDEX audit_event_agent       ON audit_event (agent_id, seq);
CREATE INDEX audit_event_tool        ON audit_event (server_id, tool, seq) WHERE server_id IS NOT NULL;
CREATE INDEX audit_event_exception   ON audit_event (outcome, seq) WHERE outcome <> 'success';
CREATE INDEX audit_event_type        ON audit_event (event_type, seq);

-- Intents without an outcome. A writer that lives closes its own; those of a dead one are closed by another.
CREATE TABLE log_intent (
  intent_id uuid PRIMARY KEY,
  writer_id uuid NOT NULL
);

-- Full tiles of the tree (C2SP tlog-tiles): 256 hashes each. `root` is the tile's entry in the level above.
CREATE TABLE log_tile (
  level smallint NOT NULL,
  index bigint   NOT NULL,
  data  bytea    NOT NULL,
  root  bytea    NOT NULL,
  PRIMARY KEY (level, index)
);
-- Hashes do not compress.
ALTER TABLE log_tile ALTER COLUMN data SET STORAGE EXTERNAL;

-- Keys that have signed this log, and the newest checkpoints. What was signed is also kept outside the database.
CREATE TABLE log_signer (
  verifier_key text PRIMARY KEY,
  added_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE log_checkpoint (
  size      bigint PRIMARY KEY,
  root      bytea  NOT NULL,
  note      text   NOT NULL,
  signed_at timestamptz NOT NULL DEFAULT now()
);
