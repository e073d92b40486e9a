-- What a tool call under a client's key came to, for who repeats it. The result is put down before the record of the outcome
-- commits and counts only from then on; whose call has no outcome yet is still at work.
CREATE TABLE call_result (
  intent_id  uuid  PRIMARY KEY,   -- the record that the key stands for
  outcome_id uuid,                -- the record of the outcome; null until there is one
  outcome    text  CHECK (outcome IN ('answered', 'unknown', 'freed')),
  envelope   jsonb,               -- talos envelope v1 of the result; null when it is not kept
  kept_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX call_result_age ON call_result (kept_at);
