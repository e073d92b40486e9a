-- Definitions of tools by their hash, as they were first seen: what a pin, or a change that waits, is of.
CREATE TABLE tool_definition (
  definition_hash text PRIMARY KEY,       -- sha256: and the hex hash of the text
  definition      text NOT NULL,          -- canonical JSON of name, description, inputSchema, outputSchema
  kept_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tool_definition_age ON tool_definition (kept_at);

-- The definition of each tool that may be used, and the one that its server gave since. A pin that was forgotten stays as a
-- row without a definition, so that who asks for what is new hears of it.
CREATE TABLE tool_pin (
  server_id       text   NOT NULL,
  tool_name       text   NOT NULL,
  definition_hash text,
  pinned_at       timestamptz NOT NULL DEFAULT now(),
  held_hash       text,
  held_state      text   CHECK (held_state IN ('held', 'rejected')),
  held_at         timestamptz,
  version         bigint NOT NULL,        -- of all pins, when this one last changed
  PRIMARY KEY (server_id, tool_name),
  CHECK ((held_hash IS NULL) = (held_state IS NULL) AND (held_hash IS NULL) = (held_at IS NULL))
);
CREATE INDEX tool_pin_version ON tool_pin (version);
CREATE INDEX tool_pin_held ON tool_pin (held_hash) WHERE held_hash IS NOT NULL;
CREATE INDEX tool_pin_definition ON tool_pin (definition_hash);
INSERT INTO state_version (topic, version) VALUES ('tool_pins', 0);
