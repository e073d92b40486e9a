-- Tool servers that administrators add while the gateways run. What one says is text as the gateway wrote it, in the keys of
-- the configuration file; credentials are in it by the names of secrets alone.
CREATE TABLE tool_server (
  server_id  text   PRIMARY KEY,
  fields     text   NOT NULL,
  version    bigint NOT NULL,          -- counts the changes of this server
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO state_version (topic, version) VALUES ('tool_servers', 0);
