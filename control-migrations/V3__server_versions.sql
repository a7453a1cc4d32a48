-- Which version of a server somebody has seen: what If-Match is compared with.

ALTER TABLE servers
    -- Rises with whatever operators change about it, and not with the tenants that come and go.
    ADD COLUMN revision bigint NOT NULL DEFAULT 1;

-- A trigger, so that replicas of the release before this one count too.
CREATE FUNCTION servers_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END
$$;
CREATE TRIGGER servers_changed
    BEFORE UPDATE OF region, labels, connection_budget, capacity, warm_target, cordoned ON servers
    FOR EACH ROW WHEN (
        (OLD.region, OLD.labels, OLD.connection_budget, OLD.capacity, OLD.warm_target, OLD.cordoned)
        IS DISTINCT FROM
        (NEW.region, NEW.labels, NEW.connection_budget, NEW.capacity, NEW.warm_target, NEW.cordoned))
    EXECUTE FUNCTION servers_changed();
