-- Rollouts: the published migrations carried to the tenants that exist, wave by wave. A tenant of a rollout is not an
-- operation: it has a row here, with a claim of its own, and rows are claimed and recorded many at a time.

ALTER TABLE tenants
    -- Rollouts do not take the product's schema of this tenant beyond this version.
    ADD COLUMN pinned_version integer CHECK (pinned_version >= 0);

ALTER TABLE servers
    -- How many of its tenants are migrated at a time, by all replicas together.
    ADD COLUMN rollout_concurrency integer NOT NULL DEFAULT 8 CHECK (rollout_concurrency BETWEEN 1 AND 64);
DROP TRIGGER servers_changed ON servers;
CREATE TRIGGER servers_changed
    BEFORE UPDATE OF region, labels, connection_budget, capacity, warm_target, cordoned, rollout_concurrency ON servers
    FOR EACH ROW WHEN (
        (OLD.region, OLD.labels, OLD.connection_budget, OLD.capacity, OLD.warm_target, OLD.cordoned,
         OLD.rollout_concurrency)
        IS DISTINCT FROM
        (NEW.region, NEW.labels, NEW.connection_budget, NEW.capacity, NEW.warm_target, NEW.cordoned,
         NEW.rollout_concurrency))
    EXECUTE FUNCTION servers_changed();

ALTER TABLE replicas
    -- Whether it migrates tenants: those that do share a server's concurrency.
    ADD COLUMN migrates boolean NOT NULL DEFAULT false;

CREATE TABLE rollouts (
    id               uuid PRIMARY KEY,
    state            text NOT NULL DEFAULT 'planned' CHECK (state IN
                     ('planned', 'running', 'paused', 'succeeded', 'failed', 'aborted')),
    -- Where it takes the tenants: the newest migration of each stream.
    freehold_version integer NOT NULL,
    product_version  integer NOT NULL,
    -- At most so many tenants of one server at a time; null leaves that to the server.
    concurrency      integer CHECK (concurrency > 0),
    -- '2%' or '3': with more failures than that it pauses.
    max_failures     text NOT NULL,
    -- The failures that an operator has seen and gone on with: they count no more.
    tolerated        integer NOT NULL DEFAULT 0,
    -- Why it pauses, or was aborted: a code, a colon, a sentence.
    reason           text,
    requested_by     text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK ((state IN ('succeeded', 'failed', 'aborted')) = (finished_at IS NOT NULL))
);
-- One at a time: a second one is refused where it is made.
CREATE UNIQUE INDEX rollouts_unfinished_key ON rollouts ((true)) WHERE state IN ('planned', 'running', 'paused');
CREATE INDEX rollouts_created_at_idx ON rollouts (created_at, id);

CREATE TABLE rollout_waves (
    rollout_id  uuid NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    -- 0 are the canaries.
    position    integer NOT NULL CHECK (position >= 0),
    -- '"canary"', '"5%"', '{"plan": "free"}', '{"region": "eu"}' or '{"label": "tier=gold"}'.
    members     jsonb NOT NULL,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'done')),
    started_at  timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (rollout_id, position)
);

CREATE TABLE rollout_tenants (
    rollout_id       uuid NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    tenant_id        uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    wave             integer NOT NULL,
    -- Where the tenant was when it was planned, or looked at last.
    server_id        uuid NOT NULL,
    state            text NOT NULL DEFAULT 'pending' CHECK (state IN
                     ('pending', 'running', 'done', 'failed', 'skipped')),
    from_freehold    integer NOT NULL,
    from_product     integer NOT NULL,
    to_freehold      integer NOT NULL,
    to_product       integer NOT NULL,
    -- Its schema was right already, and only its history was corrected.
    adopted          boolean NOT NULL DEFAULT false,
    attempts         integer NOT NULL DEFAULT 0,
    -- Rises with every claim. A record under an older one changes nothing.
    generation       bigint NOT NULL DEFAULT 0,
    run_after        timestamptz NOT NULL DEFAULT now(),
    -- The replica that claimed it last.
    lease_owner      text,
    lease_expires_at timestamptz,
    -- Why it failed, was skipped, or is tried again.
    error_code       text,
    error            text,
    -- Of the last attempt.
    duration_ms      bigint,
    started_at       timestamptz,
    finished_at      timestamptz,
    PRIMARY KEY (rollout_id, tenant_id),
    CHECK ((state IN ('done', 'failed', 'skipped')) = (finished_at IS NOT NULL))
);
CREATE INDEX rollout_tenants_due_idx ON rollout_tenants (rollout_id, server_id, wave, tenant_id)
    WHERE state IN ('pending', 'running');
CREATE INDEX rollout_tenants_tenant_id_idx ON rollout_tenants (tenant_id);
CREATE INDEX rollout_tenants_finished_at_idx ON rollout_tenants (finished_at) WHERE state = 'done';

-- Whoever works on a rollout, or follows it, is told. At most one is unfinished, so that nobody has to be told which.
CREATE FUNCTION rollouts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('freehold_rollouts', TG_ARGV[0]);
    RETURN NULL;
END
$$;
CREATE TRIGGER rollouts_changed AFTER INSERT OR UPDATE ON rollouts
    FOR EACH STATEMENT EXECUTE FUNCTION rollouts_changed('state');
CREATE TRIGGER rollout_waves_changed AFTER UPDATE ON rollout_waves
    FOR EACH STATEMENT EXECUTE FUNCTION rollouts_changed('state');
CREATE TRIGGER rollout_tenants_changed AFTER UPDATE OF state ON rollout_tenants
    FOR EACH STATEMENT EXECUTE FUNCTION rollouts_changed('progress');
