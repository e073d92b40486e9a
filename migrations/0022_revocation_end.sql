-- When a revocation can matter no longer: its token has ended, and all that was derived from it. Null where nobody knows.
ALTER TABLE capability_revocation ADD COLUMN ends_at timestamptz;
CREATE INDEX capability_revocation_ends ON capability_revocation (ends_at) WHERE ends_at IS NOT NULL;

-- Forgets revocations of tokens that ended a day ago, some of them with each call; clocks differ, and nothing hurries. The
-- writer may not delete any other: what is revoked stays so.
CREATE FUNCTION capability_forget_revoked() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
  WITH gone AS (
    DELETE FROM capability_revocation WHERE revocation_id IN (
      SELECT revocation_id FROM capability_revocation WHERE ends_at < now() - interval '1 day'
       LIMIT 5000 FOR UPDATE SKIP LOCKED) RETURNING 1)
  SELECT count(*) FROM gone;
$$;

REVOKE ALL ON FUNCTION capability_forget_revoked() FROM PUBLIC;
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION capability_forget_revoked() SET search_path = %I, pg_temp', current_schema());
END $$;
