-- Databases that were there before Freehold and became tenants' databases: what makes each what it was. The statements
-- name databases, roles and objects, and hold nothing of any row.
CREATE TABLE adoptions (
    tenant_id   uuid PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    -- PostgreSQL's number of the role that owned it.
    owner_oid   bigint NOT NULL,
    owner       text NOT NULL,
    -- About the database as a whole, from a session in another one.
    outside     jsonb NOT NULL,
    -- About what is in it. NULL: nothing in it has been changed.
    inside      jsonb,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
