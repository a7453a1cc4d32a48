-- Tenant life: names that outlive their use, pending deletions, a pool of databases made ahead, archives, and
-- operations that can be undone.

-- Every slug that somebody holds. One table for all ways of holding one, so that no two tenants ever have the same.
CREATE TABLE slugs (
    slug       text PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    -- Null: the tenant's slug now. Else a former one, which redirects, or a deleted tenant's: kept from others
    -- until then, and free afterwards even before the janitor has come by.
    expires_at timestamptz
);
CREATE UNIQUE INDEX slugs_current_key ON slugs (tenant_id) WHERE expires_at IS NULL;
CREATE INDEX slugs_tenant_id_idx ON slugs (tenant_id);
CREATE INDEX slugs_expires_at_idx ON slugs (expires_at) WHERE expires_at IS NOT NULL;
INSERT INTO slugs (slug, tenant_id) SELECT slug, id FROM tenants;

ALTER TABLE tenants
    DROP CONSTRAINT tenants_slug_key,
    -- Suspension outlives other states: a suspended tenant that is archived and woken is suspended again.
    ADD COLUMN suspended_at        timestamptz,
    ADD COLUMN suspension_reason   text,
    -- While its first administrator is being made requests wait; see tenancy::gate.
    ADD COLUMN is_settling         boolean NOT NULL DEFAULT false,
    -- Who asked for its deletion last, and when; kept when the deletion is taken back, since it counts for the limit.
    ADD COLUMN delete_requested_by text,
    ADD COLUMN delete_requested_at timestamptz,
    -- When it will be erased. Null in state 'deleting': the deletion is being taken back.
    ADD COLUMN erase_after         timestamptz,
    -- Where a deletion that is taken back leads.
    ADD COLUMN state_before_deletion text CHECK (state_before_deletion IN ('active', 'suspended', 'archived')),
    ADD CONSTRAINT tenants_deleting_check CHECK (state <> 'deleting' OR state_before_deletion IS NOT NULL);
-- A tombstone keeps its slug for display; `slugs` says whether it is still reserved.
CREATE UNIQUE INDEX tenants_slug_key ON tenants (slug) WHERE state <> 'deleted';
CREATE INDEX tenants_erase_after_idx ON tenants (erase_after) WHERE state = 'deleting';
CREATE INDEX tenants_delete_requested_at_idx ON tenants (delete_requested_at) WHERE delete_requested_at IS NOT NULL;

-- Databases made ahead of demand, under the id, role and sealed password that the next tenant will get. Claiming
-- one deletes its row in the transaction that makes the tenant.
CREATE TABLE warm_databases (
    id             uuid PRIMARY KEY,
    server_id      uuid NOT NULL REFERENCES servers (id),
    state          text NOT NULL DEFAULT 'making' CHECK (state IN ('making', 'ready', 'retiring')),
    -- The template that it is a copy of.
    template       text NOT NULL,
    schema_version integer NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    ready_at       timestamptz
);
CREATE INDEX warm_databases_ready_idx ON warm_databases (server_id, template, ready_at) WHERE state = 'ready';

-- A warm database has its keys before there is a tenant. A signing key is unreadable without its owner's data key.
ALTER TABLE signing_keys
    DROP CONSTRAINT signing_keys_tenant_id_fkey,
    ADD CONSTRAINT signing_keys_owner_fkey FOREIGN KEY (tenant_id) REFERENCES data_keys (owner_id) ON DELETE CASCADE;

ALTER TABLE servers
    -- The most tenants that it takes; null is as many as come.
    ADD COLUMN capacity    integer CHECK (capacity >= 0),
    -- How many databases are kept ready; null follows demand.
    ADD COLUMN warm_target integer CHECK (warm_target BETWEEN 0 AND 1000),
    -- How many tenants have a database on it. Counting them for every placement would take longer than the placement.
    ADD COLUMN tenants     integer NOT NULL DEFAULT 0;
UPDATE servers SET tenants = (SELECT count(*) FROM tenants
                              WHERE server_id = servers.id AND state NOT IN ('archived', 'deleted'));

-- Counts, and keeps a server from being given more tenants than it takes. Deferred: the server's row is locked while
-- a transaction commits and no longer, whatever becomes of the client that waits between two statements.
CREATE FUNCTION tenants_counted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_over boolean;
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.state NOT IN ('archived', 'deleted') THEN
        UPDATE servers SET tenants = tenants - 1 WHERE id = OLD.server_id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.state NOT IN ('archived', 'deleted') THEN
        UPDATE servers SET tenants = tenants + 1 WHERE id = NEW.server_id RETURNING tenants > capacity INTO is_over;
        -- A tenant that comes back to its server is let in.
        IF TG_OP = 'INSERT' AND is_over THEN
            RAISE EXCEPTION 'the server takes no more tenants'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'servers_capacity';
        END IF;
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER tenants_counted AFTER INSERT OR DELETE ON tenants DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tenants_counted();
CREATE CONSTRAINT TRIGGER tenants_recounted AFTER UPDATE OF state, server_id ON tenants DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.server_id <> NEW.server_id
        OR (OLD.state IN ('archived', 'deleted')) <> (NEW.state IN ('archived', 'deleted')))
    EXECUTE FUNCTION tenants_counted();

-- What the schema of a template really is once all its migrations have run: what drift is found by. The name says
-- which migrations; definitions are spelt the same by all servers of one major version.
CREATE TABLE templates (
    name               text NOT NULL,
    server_major       integer NOT NULL,
    schema_fingerprint text NOT NULL,
    built_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, server_major)
);

-- Which replicas there are, and how far each has followed the tenants' changes. A row that is not renewed is gone.
CREATE TABLE replicas (
    name              text PRIMARY KEY,
    release           text NOT NULL,
    started_at        timestamptz NOT NULL DEFAULT now(),
    seen_at           timestamptz NOT NULL DEFAULT now(),
    -- The most connections that it opens to one tenant's database.
    pool_size         integer NOT NULL,
    registry_revision bigint NOT NULL,
    registry_digest   text NOT NULL
);

-- Which key-encryption keys each replica has: one that lacked a key could not open what that key wrapped. A row that
-- is not renewed is of a replica that is gone.
CREATE TABLE key_rings (
    replica text PRIMARY KEY,
    -- The first one wraps new data keys.
    key_ids text[] NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX data_keys_kek_id_idx ON data_keys (kek_id, owner_id);

-- A signing key is published before it signs, so that whoever verifies has it by then, and goes on verifying after
-- it has been retired (which may be a time to come).
ALTER TABLE signing_keys ADD COLUMN active_from timestamptz NOT NULL DEFAULT now();

-- Encrypted dumps in object storage. Tenant and id are the object's name there.
CREATE TABLE archives (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    -- The operation that makes it: its next attempt adopts what is complete and throws away what is not.
    operation_id   uuid NOT NULL,
    -- The key of this one dump, sealed with the tenant's data key.
    sealed_key     bytea NOT NULL,
    -- The newest migration, and rows by table, as they were dumped: what a restore is compared with.
    contents       jsonb NOT NULL,
    -- Of the server that it was dumped from.
    server_version integer NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    -- Null until the object is complete and was read back.
    bytes          bigint,
    sha256         bytea CHECK (length(sha256) = 32),
    verified_at    timestamptz,
    CONSTRAINT archives_complete_check CHECK (num_nulls(bytes, sha256, verified_at) IN (0, 3))
);
CREATE INDEX archives_tenant_id_idx ON archives (tenant_id, created_at);

-- What was destroyed with a tenant. Holds no personal data and outlives the tombstone.
CREATE TABLE deletion_certificates (
    tenant_id   uuid PRIMARY KEY,
    certificate jsonb NOT NULL,
    -- Null while the erasure is under way: what was found is written down before it is destroyed.
    issued_at   timestamptz
);

-- An operation may make what is not a tenant yet, and can go backwards: undoing what its steps did.
ALTER TABLE operations
    DROP CONSTRAINT operations_tenant_id_fkey,
    -- Another tenant that it reads: while it does nothing else may change that one.
    ADD COLUMN source_id           uuid,
    ADD COLUMN direction           text NOT NULL DEFAULT 'forward' CHECK (direction IN ('forward', 'undo')),
    -- How many attempts in this direction failed for a reason that no waiting mends. Fewer than `attempts`, which
    -- counts claims: a replica that was killed, or a server that was away, says nothing against the operation.
    ADD COLUMN failures            integer NOT NULL DEFAULT 0,
    ADD COLUMN cancel_requested_by text,
    ADD COLUMN cancel_requested_at timestamptz;
CREATE UNIQUE INDEX operations_live_source_key ON operations (source_id)
    WHERE state IN ('queued', 'running', 'blocked');
CREATE INDEX operations_finished_at_idx ON operations (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX operations_tenant_id_idx ON operations (tenant_id, created_at);
-- How the making of warm databases went on a server lately.
CREATE INDEX operations_warm_make_idx ON operations ((input ->> 'server_id'), finished_at)
    WHERE kind = 'warm.make' AND finished_at IS NOT NULL;
CREATE INDEX operations_lease_expires_at_idx ON operations (lease_expires_at) WHERE state = 'running';

ALTER TABLE operation_steps
    DROP CONSTRAINT operation_steps_state_check,
    ADD CONSTRAINT operation_steps_state_check
        CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'undoing', 'undone'));

-- Whoever follows an operation is told of every step.
CREATE FUNCTION operation_steps_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('freehold_operations', 'progress ' || NEW.operation_id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER operation_steps_changed AFTER UPDATE OF state ON operation_steps
    FOR EACH ROW EXECUTE FUNCTION operation_steps_changed();

-- The checks that go round by themselves, one replica at a time, and what they found last: for everybody's metrics.
CREATE TABLE checks (
    name          text PRIMARY KEY,
    -- Of the last round that came to an end. Null: none has.
    ended_at      timestamptz,
    counts        jsonb NOT NULL DEFAULT '{}',
    -- Nobody else goes on with it before that.
    claimed_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Of the round that is under way, if one is: the last tenant, and what was counted up to there.
    after         uuid,
    so_far        jsonb NOT NULL DEFAULT '{}'
);
INSERT INTO checks (name) VALUES ('fsck'), ('isolation');
