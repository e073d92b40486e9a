-- What is changed by administrators and remembered by every gateway: a version counts each change, so that asking for
-- what is new costs one row.
CREATE TABLE state_version (
  topic   text   PRIMARY KEY,
  version bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO state_version (topic, version) VALUES ('roles', 0);

-- Roles beside the built-in ones, which are in the code.
CREATE TABLE rbac_role (
  role_id     uuid   PRIMARY KEY,
  name        text   NOT NULL UNIQUE,
  description text,
  permissions text[] NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);

-- Who holds which role, and where. The role may be a built-in one, so nothing refers to it.
CREATE TABLE rbac_binding (
  binding_id   text  PRIMARY KEY,
  principal_id text  NOT NULL,
  team_id      text,
  role_id      uuid  NOT NULL,
  scope_type   text  NOT NULL,
  attributes   jsonb NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now()
);

-- Principals see their own team's events, so every page that they ask for is filtered by it. The one team of those who
-- have no teams needs no index: nearly every record is its own.
CREATE INDEX audit_event_team ON audit_event (team_id, seq) WHERE team_id <> 'default';
