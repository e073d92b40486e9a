-- What teams may use of the tool servers, as the gateway wrote it.
CREATE TABLE team_policy (
  policy_id  text   PRIMARY KEY,
  team_id    text   NOT NULL,
  fields     text   NOT NULL,
  version    bigint NOT NULL,          -- counts the changes of this policy
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO state_version (topic, version) VALUES ('team_policies', 0);

-- Calls that a human has to approve. What is called with what is named by hashes; the arguments, which the approver has to
-- see, are sealed in a table of their own.
CREATE TABLE tool_approval (
  approval_id  uuid   PRIMARY KEY,
  ask_hash     bytea  NOT NULL,        -- whose call of what, by which who asks again finds it
  key_hash     bytea  NOT NULL,        -- the key that the call is reserved under, so that it is made once
  request_hash bytea  NOT NULL,
  principal_id text   NOT NULL,
  team_id      text   NOT NULL,
  server_id    text   NOT NULL,
  tool_name    text   NOT NULL,
  definition_hash text NOT NULL,
  state        text   NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied')),
  requested_at timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL,
  decided_by   text,
  decided_at   timestamptz,
  reason       text,
  intent_id    uuid                    -- the record of the last call that was made under it
);
CREATE INDEX tool_approval_ask ON tool_approval (ask_hash, requested_at);
CREATE INDEX tool_approval_recent ON tool_approval (requested_at);
CREATE INDEX tool_approval_open ON tool_approval (principal_id, team_id) WHERE state = 'pending';

CREATE TABLE tool_approval_arguments (
  approval_id uuid  PRIMARY KEY,
  envelope    jsonb NOT NULL,          -- talos envelope v1 of the canonical arguments
  kept_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tool_approval_arguments_age ON tool_approval_arguments (kept_at);
