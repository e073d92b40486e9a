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
-- Partitions end where a tile of 256 tiles does, so that records can be dropped while the tree over them stays whole.
CREATE TABLE audit_event (
  seq            bigint PRIMARY KEY,
  event_id       uuid   NOT NULL,     -- unique in each partition; given under the head's lock, so in all of them
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
) PARTITION BY RANGE (seq);

-- Each index costs every write, so there is one only where a filter is selective; the others are cheap scans from the end.
CREATE INDEX audit_event_session     ON audit_event (session_id, seq) WHERE session_id IS NOT NULL;
CREATE INDEX audit_event_correlation ON audit_event (correlation_id);
CREATE INDEX audit_event_agent       ON audit_event (agent_id, seq);
CREATE INDEX audit_event_tool        ON audit_event (server_id, tool, seq) WHERE server_id IS NOT NULL;
CREATE INDEX audit_event_exception   ON audit_event (outcome, seq) WHERE outcome <> 'success';
CREATE INDEX audit_event_type        ON audit_event (event_type, seq);

-- The partitions of `audit_event`, without a gap from 0 on.
CREATE TABLE log_partition (
  first_seq  bigint PRIMARY KEY CHECK (first_seq % 65536 = 0),
  end_seq    bigint NOT NULL UNIQUE CHECK (end_seq > first_seq AND end_seq % 65536 = 0),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  pruned_at  timestamptz,             -- its records are dropped; `last_id` is the id of the last one
  last_id    uuid,
  CHECK ((pruned_at IS NULL) = (last_id IS NULL))
);

-- Makes partitions until one has room for record `needed` - 1, and returns where the last one ends. The sizes follow the
-- log: one that was filled within a day is followed by one of twice the size, one that took weeks by one of half of it.
-- It runs with its owner's rights: who may append need not be able to change tables.
CREATE FUNCTION log_extend(needed bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  size_min CONSTANT bigint := 65536;
  size_max CONSTANT bigint := 16777216;
  first bigint := 0;
  size  bigint := size_min;
  last  log_partition;
  name  text;
BEGIN
  SELECT * INTO last FROM log_partition ORDER BY first_seq DESC LIMIT 1;
  IF last.end_seq >= needed THEN RETURN last.end_seq; END IF;
  PERFORM pg_advisory_xact_lock(7425002);
  LOOP
    SELECT * INTO last FROM log_partition ORDER BY first_seq DESC LIMIT 1;
    IF last.end_seq >= needed THEN RETURN last.end_seq; END IF;
    IF FOUND THEN
      first := last.end_seq;
      size := last.end_seq - last.first_seq;
      IF clock_timestamp() - last.created_at < interval '1 day' THEN size := least(size * 2, size_max);
      ELSIF clock_timestamp() - last.created_at > interval '14 days' THEN size := greatest(size / 2, size_min);
      END IF;
    END IF;
    -- Attaching a table leaves readers and writers alone; creating it as a partition would lock them out.
    name := 'audit_event_' || first;
    EXECUTE format('CREATE TABLE %I (LIKE audit_event INCLUDING DEFAULTS INCLUDING STORAGE)', name);
    EXECUTE format('CREATE UNIQUE INDEX %I ON %I (event_id)', name || '_event_id', name);
    EXECUTE format('ALTER TABLE audit_event ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, first, first + size);
    INSERT INTO log_partition (first_seq, end_seq) VALUES (first, first + size);
  END LOOP;
END $$;
-- Nothing that a caller calls by the name of one of our tables is taken for it.
DO $$ BEGIN EXECUTE format('ALTER FUNCTION log_extend(bigint) SET search_path = %I, pg_temp', current_schema()); END $$;
SELECT log_extend(1);

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
