-- What a writer that may only insert cannot do by itself is done by functions with their owner's rights, which check what
-- can be checked. Rights are not granted here: they follow `src/storage/rights.ts` after every migration.

-- The head moves with the records and in no other way. Whoever inserts records says first where the head goes, in
-- `talos.head` (next_seq, last_ms, last_counter, tree, root); when they are inserted, they must fill exactly the places
-- from the old head to the new one. The owner may insert without that: who may change tables needs no permission.
CREATE FUNCTION log_move_head() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
-- Planned once, and never as a scan of a whole partition, whatever the statistics say of a log that grows.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
  told         text[] := string_to_array(current_setting('talos.head', true), ' ');
  next         bigint := told[1];
  ms           bigint := told[2];
  counter      integer := told[3];
  edge         bytea := told[4];
  new_root     bytea := told[5];
  old_next     bigint;
  old_ms       bigint;
  old_counter  integer;
  inserted     bigint;
  last         bigint;
BEGIN
  IF next IS NULL AND pg_has_role(session_user, current_user, 'MEMBER') THEN RETURN NULL; END IF;
  SELECT next_seq, last_ms, last_counter INTO STRICT old_next, old_ms, old_counter FROM log_head WHERE log_id = 1;
  SELECT count(*), max(seq) INTO inserted, last FROM audit_event WHERE seq >= old_next;
  IF next IS DISTINCT FROM old_next + inserted OR last <> next - 1 THEN
    RAISE EXCEPTION 'the records after the head at % do not lead to one at %', old_next, next;
  END IF;
  IF inserted = 0 THEN RETURN NULL; END IF;
  -- The time of ids is the server's, but for a clock that was set back and ids that had to go on.
  IF ((ms, counter) > (old_ms, old_counter) AND counter BETWEEN 0 AND 4095
      AND ms <= greatest(old_ms, floor(extract(epoch FROM clock_timestamp()) * 1000)) + 60000) IS NOT TRUE THEN
    RAISE EXCEPTION 'ids cannot go on at %.% after %.%', ms, counter, old_ms, old_counter;
  END IF;
  IF (length(edge) = 32 * length(replace(next::bit(64)::text, '0', '')) AND length(new_root) = 32) IS NOT TRUE THEN
    RAISE EXCEPTION 'this cannot be the tree of % records', next;
  END IF;
  UPDATE log_head SET next_seq = next, last_ms = ms, last_counter = counter, tree = edge, root = new_root
   WHERE log_id = 1 AND next_seq = old_next;
  IF NOT FOUND THEN RAISE EXCEPTION 'the head was not locked'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER log_move_head AFTER INSERT ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION log_move_head();

-- The log's name: the one it has, else `proposed`, which it then keeps.
CREATE FUNCTION log_name(proposed text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
  UPDATE log_head SET origin = coalesce(origin, proposed) WHERE log_id = 1 RETURNING origin;
$$;

-- Keeps a checkpoint, unless there is one of its size, and the newest thousand: older ones are implied by newer ones.
CREATE FUNCTION log_keep_checkpoint(of_size bigint, of_root bytea, signed text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM log_head WHERE of_size BETWEEN 0 AND next_seq AND (of_size < next_seq OR of_root = root)) THEN
    RAISE EXCEPTION 'the log never had % records with that root', of_size;
  END IF;
  DELETE FROM log_checkpoint WHERE size < (SELECT size FROM log_checkpoint ORDER BY size DESC OFFSET 1000 LIMIT 1);
  INSERT INTO log_checkpoint (size, root, note) VALUES (of_size, of_root, signed) ON CONFLICT DO NOTHING;
END $$;

-- Adds signatures to a checkpoint: its text stays, and so does every line that it has.
CREATE FUNCTION log_cosign(of_size bigint, of_root bytea, signed text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
  UPDATE log_checkpoint SET note = signed
   WHERE size = of_size AND root = of_root AND string_to_array(signed, E'\n') @> string_to_array(note, E'\n')
     AND split_part(signed, E'\n\n', 1) = split_part(note, E'\n\n', 1) AND split_part(signed, E'\n\n', 3) = '';
$$;

-- Room is made for what may come soon, so that nobody can have tables made without end.
ALTER FUNCTION log_extend(bigint) RENAME TO log_extend_to;
CREATE FUNCTION log_extend(needed bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF needed > (SELECT next_seq FROM log_head) + 67108864 THEN
    RAISE EXCEPTION 'the log is far from % records', needed;
  END IF;
  RETURN log_extend_to(needed);
END $$;

REVOKE ALL ON FUNCTION log_move_head(), log_name(text), log_keep_checkpoint(bigint, bytea, text),
  log_cosign(bigint, bytea, text), log_extend(bigint), log_extend_to(bigint) FROM PUBLIC;
-- Nothing that a caller calls by the name of one of our tables is taken for it.
DO $$
DECLARE
  name regprocedure;
BEGIN
  FOREACH name IN ARRAY ARRAY['log_move_head()', 'log_name(text)', 'log_keep_checkpoint(bigint, bytea, text)',
    'log_cosign(bigint, bytea, text)', 'log_extend(bigint)']::regprocedure[] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
  END LOOP;
END $$;
