-- Objects of tenants' schemas that are not what the tenants' versions say: what the last look at each tenant found.
CREATE TABLE drifts (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    -- Its place among the tenant's.
    position  integer NOT NULL,
    object    text NOT NULL,
    -- Null: it should not be there.
    expected  text,
    -- Null: it is not there.
    actual    text,
    found_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, position)
);

ALTER TABLE checks
    -- Somebody has asked for a round. Null once one has ended that began later.
    ADD COLUMN asked_at timestamptz,
    -- When the round that is under way, or the last one, began.
    ADD COLUMN began_at timestamptz;
INSERT INTO checks (name) VALUES ('drift');
