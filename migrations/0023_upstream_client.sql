-- The gateway as a client that registered itself at authorization servers of tool servers (RFC 7591): one for each
-- authorization server and address that users come back to. Sealed like tokens. A registration is leased, so that of all
-- gateways one alone registers.
CREATE TABLE upstream_client (
  client_key      bytea       PRIMARY KEY CHECK (octet_length(client_key) = 32), -- hash of the next two
  issuer          text        NOT NULL,
  redirect_uri    text        NOT NULL,
  registration_id uuid        UNIQUE,             -- new with each registration
  kek_id          text,
  envelope        jsonb,
  scopes          text,                           -- that it may ask for
  secret_ends_at  timestamptz,
  registered_at   timestamptz,
  asked_at        timestamptz,                    -- when the authorization server last knew it, as far as was asked
  lease_id        uuid,
  lease_until     timestamptz,
  claimed_at      timestamptz NOT NULL DEFAULT now(),
  CHECK ((registration_id IS NULL) = (envelope IS NULL))
);
CREATE INDEX upstream_client_address ON upstream_client (redirect_uri);
