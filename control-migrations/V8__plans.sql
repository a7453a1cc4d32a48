-- Plans are kept by every replica beside the tenants that are on them.

-- A changed plan reaches every replica as a changed tenant does.
CREATE FUNCTION plans_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('freehold_plans', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER plans_changed AFTER INSERT OR UPDATE OR DELETE ON plans
    FOR EACH STATEMENT EXECUTE FUNCTION plans_changed();

-- Whether all that an object holds are whole numbers, or null, under these names. What is absent means unlimited, so that
-- a misspelt name would be a limit that nobody keeps.
CREATE FUNCTION holds_amounts(amounts jsonb, names text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(amounts) WHEN 'object' THEN NOT EXISTS (
        SELECT FROM jsonb_each(amounts) AS amount (name, value)
        WHERE amount.name <> ALL (names) OR amount.value::text !~ '^(null|0|[1-9][0-9]{0,14})$')
    ELSE false END
$$;
ALTER TABLE plans
    -- Plans from before this migration are judged when they are changed.
    ADD CONSTRAINT plans_limits_check CHECK (holds_amounts(limits,
        ARRAY['requests_per_minute', 'requests_per_hour', 'requests_per_day', 'burst'])) NOT VALID,
    ADD CONSTRAINT plans_quotas_check CHECK (holds_amounts(quotas,
        ARRAY['users', 'api_keys', 'storage_bytes', 'connections'])) NOT VALID;
