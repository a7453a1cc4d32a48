-- The control database: what Freehold knows about servers, tenants and the work that is under way.
-- It holds no customer data. Secrets in it are sealed: see control::sealing.

-- One data key an owner (a tenant or a server), wrapped by a key-encryption key that never is in here.
CREATE TABLE data_keys (
    owner_id   uuid PRIMARY KEY,
    -- Names the key-encryption key in the configuration.
    kek_id     text NOT NULL,
    wrapped    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE secrets (
    owner_id   uuid NOT NULL REFERENCES data_keys (owner_id) ON DELETE CASCADE,
    purpose    text NOT NULL,
    sealed     bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, purpose)
);

CREATE TABLE servers (
    id                uuid PRIMARY KEY,
    name              text NOT NULL CONSTRAINT servers_name_key UNIQUE
                      CHECK (name ~ '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'),
    -- The platform server holds the operators' own tenant and takes no others.
    purpose           text NOT NULL CHECK (purpose IN ('tenants', 'platform')),
    host              text NOT NULL,
    port              integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    admin_role        text NOT NULL,
    maintenance_db    text NOT NULL,
    -- verify-full checks chain and host name; disable is refused in production.
    tls               text NOT NULL CHECK (tls IN ('verify-full', 'disable')),
    region            text,
    labels            jsonb NOT NULL DEFAULT '{}',
    connection_budget integer NOT NULL CHECK (connection_budget BETWEEN 1 AND 10000),
    cordoned          boolean NOT NULL DEFAULT false,
    -- As PostgreSQL says it: 150018 is 15.18.
    version_num       integer NOT NULL,
    -- PostgreSQL's own name for the cluster: one cluster is one server, whatever its hosts are called.
    system_identifier bigint NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT servers_host_port_key UNIQUE (host, port, purpose),
    CONSTRAINT servers_system_identifier_key UNIQUE (system_identifier, purpose)
);
CREATE UNIQUE INDEX servers_platform_key ON servers (purpose) WHERE purpose = 'platform';

CREATE TABLE plans (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    -- Absent or null means unlimited.
    limits     jsonb NOT NULL DEFAULT '{}',
    quotas     jsonb NOT NULL DEFAULT '{}',
    features   text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO plans (name, limits, quotas) VALUES
    ('default',
     '{"requests_per_minute": 600, "requests_per_hour": 20000, "requests_per_day": 200000, "burst": 100}',
     '{"users": 100, "api_keys": 20, "storage_bytes": 10737418240, "connections": 10}'),
    ('bench', '{}', '{}');

CREATE SEQUENCE tenants_revision_seq;

CREATE TABLE tenants (
    id             uuid PRIMARY KEY,
    -- Unique for ever: a deleted tenant keeps its slug reserved until its tombstone is cleared.
    slug           text NOT NULL CONSTRAINT tenants_slug_key UNIQUE,
    name           text NOT NULL,
    kind           text NOT NULL DEFAULT 'customer' CHECK (kind IN ('customer', 'platform')),
    state          text NOT NULL CHECK (state IN
                   ('provisioning', 'active', 'suspended', 'archived', 'deleting', 'deleted')),
    plan           text NOT NULL CONSTRAINT tenants_plan_fkey REFERENCES plans (name),
    server_id      uuid NOT NULL CONSTRAINT tenants_server_id_fkey REFERENCES servers (id),
    schema_version integer NOT NULL DEFAULT 0,
    labels         jsonb NOT NULL DEFAULT '{}',
    -- Rises whenever cached knowledge about the tenant must die: sessions, roles, state.
    epoch          bigint NOT NULL DEFAULT 1,
    -- Rises with every change of the row: what a replica compares when it synchronises.
    revision       bigint NOT NULL DEFAULT nextval('tenants_revision_seq'),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX tenants_platform_key ON tenants (kind) WHERE kind = 'platform';
CREATE INDEX tenants_server_id_idx ON tenants (server_id);
CREATE INDEX tenants_revision_idx ON tenants (revision);
CREATE INDEX tenants_created_at_idx ON tenants (created_at, id);
CREATE INDEX tenants_slug_pattern_idx ON tenants (slug text_pattern_ops);

-- Every replica listens: a change of a tenant reaches all of them within a round trip.
CREATE FUNCTION tenants_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.revision := nextval('tenants_revision_seq');
        NEW.updated_at := now();
    END IF;
    PERFORM pg_notify('freehold_tenants', NEW.id::text);
    RETURN NEW;
END
$$;
CREATE TRIGGER tenants_changed BEFORE INSERT OR UPDATE ON tenants
    FOR EACH ROW EXECUTE FUNCTION tenants_changed();

CREATE TABLE signing_keys (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    -- The raw 32 bytes of an Ed25519 public key (RFC 8032).
    public_key  bytea NOT NULL CHECK (length(public_key) = 32),
    -- PKCS#8, sealed with the tenant's data key.
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz
);
-- At most one key signs for a tenant; retired ones go on verifying until their tokens have expired.
CREATE UNIQUE INDEX signing_keys_active_key ON signing_keys (tenant_id) WHERE retired_at IS NULL;

CREATE TABLE operations (
    id               uuid PRIMARY KEY,
    kind             text NOT NULL,
    tenant_id        uuid NOT NULL REFERENCES tenants (id),
    state            text NOT NULL DEFAULT 'queued' CHECK (state IN
                     ('queued', 'running', 'blocked', 'succeeded', 'failed', 'cancelled')),
    input            jsonb NOT NULL,
    requested_by     text NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    -- Rises with every claim. A write under an older one touches no row.
    generation       bigint NOT NULL DEFAULT 0,
    run_after        timestamptz NOT NULL DEFAULT now(),
    lease_owner      text,
    lease_expires_at timestamptz,
    -- For the operator; the cause itself is in the log.
    error            text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
);
-- One live operation a tenant: a second one is refused where it is made.
CREATE UNIQUE INDEX operations_live_key ON operations (tenant_id) WHERE state IN ('queued', 'running', 'blocked');
CREATE INDEX operations_due_idx ON operations (run_after) WHERE state IN ('queued', 'running');
CREATE INDEX operations_created_at_idx ON operations (created_at, id);

CREATE TABLE operation_steps (
    operation_id uuid NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    position     integer NOT NULL,
    name         text NOT NULL,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'succeeded', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    started_at   timestamptz,
    finished_at  timestamptz,
    error        text,
    PRIMARY KEY (operation_id, position)
);

CREATE FUNCTION operations_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Workers wake for queued ones, those who wait for an operation for its end.
    PERFORM pg_notify('freehold_operations', NEW.state || ' ' || NEW.id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER operations_changed AFTER INSERT OR UPDATE OF state ON operations
    FOR EACH ROW EXECUTE FUNCTION operations_changed();

-- What a repeated POST is answered from. Written in the transaction that makes the resource.
CREATE TABLE idempotency_keys (
    principal    text NOT NULL,
    route        text NOT NULL,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
    resource_id  uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, route, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- The published tenant migrations, in order. A set is all files up to a version; sets only ever grow.
CREATE TABLE migrations (
    version      integer PRIMARY KEY CHECK (version > 0),
    name         text NOT NULL,
    sql          text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    published_by text NOT NULL
);

-- What operators did. Rows are written in the transaction of the change and never altered.
CREATE TABLE audit_events (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    action     text NOT NULL,
    target     text,
    ip         inet,
    user_agent text,
    request_id text,
    details    jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_events_at_idx ON audit_events (at DESC, id DESC);
