-- Accounts of users at tool servers. Tokens are sealed: bound to server, user and what they are for, under the keys of the
-- secrets, which are not in the database. A refresh is leased, so that of all gateways one alone spends the refresh token.
CREATE TABLE upstream_connection (
  connection_id uuid        PRIMARY KEY,        -- new whenever the user connects
  server_id     text        NOT NULL,
  principal_id  text        NOT NULL,
  team_id       text        NOT NULL,
  purpose       text        NOT NULL,           -- hex sha256 of the address, client and authorization server
  kek_id        text        NOT NULL,
  envelope      jsonb       NOT NULL,
  version       bigint      NOT NULL DEFAULT 1, -- counts the refreshes
  scopes        text        NOT NULL,
  expires_at    timestamptz,                    -- of the access token
  is_renewable  boolean     NOT NULL,
  lost_because  text,                           -- why the tokens are no good any more
  lease_id      uuid,
  lease_until   timestamptz,
  connected_at  timestamptz NOT NULL DEFAULT now(),
  refreshed_at  timestamptz,
  UNIQUE (server_id, principal_id, team_id)
);
CREATE INDEX upstream_connection_kek ON upstream_connection (kek_id);

-- Users who are on their way to an authorization server and back. The key is a hash of the state that they bring back.
CREATE TABLE upstream_consent (
  state_hash   bytea       PRIMARY KEY CHECK (octet_length(state_hash) = 32),
  server_id    text        NOT NULL,
  principal_id text        NOT NULL,
  team_id      text        NOT NULL,
  envelope     jsonb       NOT NULL,
  started_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL
);
CREATE INDEX upstream_consent_user ON upstream_consent (server_id, principal_id, team_id);
CREATE INDEX upstream_consent_expiry ON upstream_consent (expires_at);
