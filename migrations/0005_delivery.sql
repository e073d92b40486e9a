-- Names of groups of events that a gateway may hold in its spool although they are in the log: a row commits with the
-- group's records and goes when the spool no longer holds it.
CREATE TABLE log_spool (
  run_id    uuid   NOT NULL,          -- one run of one gateway
  number    bigint NOT NULL,          -- of the group, in the order in which the run accepted them
  stored_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, number)
);
CREATE INDEX log_spool_age ON log_spool (stored_at);

-- How far records were forwarded to an external audit service, and which gateway is at it.
CREATE TABLE log_forward (
  target   text   PRIMARY KEY,
  next_seq bigint NOT NULL,
  owner    uuid,
  seen_at  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Records that the service refused for what they are; each start of a gateway offers them again.
CREATE TABLE log_forward_rejected (
  target      text    NOT NULL,
  seq         bigint  NOT NULL,
  status      integer NOT NULL,
  rejected_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (target, seq)
);
