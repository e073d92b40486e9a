-- MCP sessions, each with the gateway that has it: its streams, its session or process at the tool server are there. The id
-- is not kept, so whoever reads this can use no session.
CREATE TABLE mcp_session (
  id_hash         bytea       PRIMARY KEY CHECK (octet_length(id_hash) = 32),
  principal_id    text        NOT NULL,
  team_id         text        NOT NULL,
  server_id       text,                   -- NULL at the address of all servers
  capability_hash text,
  gateway_id      uuid        NOT NULL,   -- of one run of a gateway: after a restart it is another one
  gateway_url     text,                   -- where other gateways reach it; NULL when they cannot
  created_at      timestamptz NOT NULL DEFAULT now(),
  seen_at         timestamptz NOT NULL DEFAULT now(),   -- when its gateway last said that it is open
  expires_at      timestamptz NOT NULL    -- unless its gateway says so again
);
CREATE INDEX mcp_session_expiry ON mcp_session (expires_at);

-- What the gateways of this database know and nobody else: by it they make ids of sessions, and vouch for what they forward
-- to one another.
CREATE TABLE gateway_key (
  name text  PRIMARY KEY,
  key  bytea NOT NULL CHECK (octet_length(key) = 32)
);
