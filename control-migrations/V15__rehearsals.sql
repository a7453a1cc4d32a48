-- What the last rehearsal of migrations on a copy of a tenant's database has shown.
CREATE TABLE rehearsals (
    tenant_id        uuid PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    operation_id     uuid NOT NULL,
    -- From where to where.
    from_freehold    integer NOT NULL,
    from_product     integer NOT NULL,
    to_freehold      integer NOT NULL,
    to_product       integer NOT NULL,
    -- Statement by statement.
    statements       jsonb NOT NULL,
    rehearsed_at     timestamptz NOT NULL DEFAULT now()
);
