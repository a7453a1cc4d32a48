-- Operators act as somebody of a tenant for a while. A visit's tokens are worth something while its row is open.
CREATE TABLE visits (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    -- A user of the platform tenant.
    operator_id   uuid NOT NULL,
    -- A user of the tenant.
    user_id       uuid NOT NULL,
    reason        text NOT NULL CHECK (length(reason) >= 10),
    began_at      timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    ended_because text,
    CHECK ((ended_at IS NULL) = (ended_because IS NULL))
);
CREATE INDEX visits_tenant_id_idx ON visits (tenant_id);
CREATE INDEX visits_operator_id_idx ON visits (operator_id) WHERE ended_at IS NULL;
