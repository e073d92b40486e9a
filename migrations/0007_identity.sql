-- API keys. The key itself is kept nowhere: only its HMAC under a pepper that is not in the database.
CREATE TABLE api_key (
  id           uuid   PRIMARY KEY,
  hash         bytea  NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  pepper_id    text   NOT NULL,
  name         text   NOT NULL,
  principal_id text   NOT NULL,
  team_id      text   NOT NULL,
  permissions  text[] NOT NULL,
  hint         text   NOT NULL,
  created_at   timestamptz NOT NULL,
  created_by   text   NOT NULL,
  expires_at   timestamptz,
  revoked_at   timestamptz,
  replaces     uuid,                   -- the key that it took the place of
  last_used_at timestamptz
);
CREATE INDEX api_key_newest ON api_key (created_at DESC, id DESC);

-- Grows with every change of a key; a gateway that remembers keys asks for it all the time.
CREATE TABLE api_key_version (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  version   bigint  NOT NULL
) WITH (fillfactor = 50);
INSERT INTO api_key_version (version) VALUES (0);
