-- Statistics: counters by minute and hour, and those of records by day too, added to in the transaction that appends the
-- records they count. Each can be derived from the records again.
CREATE TABLE log_rollup (
  span_sec  integer NOT NULL,       -- 60, 3600 or 86400
  start_sec bigint  NOT NULL,       -- Unix time, a multiple of the span
  team_id   text    COLLATE "C" NOT NULL,  -- '' for records of nobody's team
  counter   text    COLLATE "C" NOT NULL,
  value     bigint  NOT NULL,
  PRIMARY KEY (span_sec, start_sec, team_id, counter)
) WITH (fillfactor = 70);           -- the newest rows are updated by every batch: room for updates in place

-- What was recorded before is counted too; of its latencies and denial reasons there are no figures.
INSERT INTO log_rollup (span_sec, start_sec, team_id, counter, value)
SELECT span_sec, floor(extract(epoch FROM ts) / span_sec)::bigint * span_sec, coalesce(team_id, ''), 'record.' || outcome,
       count(*)
  FROM audit_event CROSS JOIN (VALUES (60), (3600), (86400)) AS span (span_sec)
 WHERE NOT is_intent
 GROUP BY 1, 2, 3, 4;
