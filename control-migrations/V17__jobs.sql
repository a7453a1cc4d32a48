-- Jobs: work that nobody waits for, such as a mail. The transaction that decides on the work queues it.
CREATE TABLE jobs (
    id               uuid PRIMARY KEY,
    kind             text NOT NULL,
    -- Whose data key seals the payload. A job goes when that key is destroyed: nobody could read it any more.
    tenant_id        uuid NOT NULL REFERENCES data_keys (owner_id) ON DELETE CASCADE,
    state            text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'dead')),
    -- Sealed. NULL once the work is done.
    payload          bytea,
    -- How often it was claimed; how often it failed since an operator last asked for it; how often its holder was gone
    -- before it ended, in a row.
    attempts         integer NOT NULL DEFAULT 0,
    failures         integer NOT NULL DEFAULT 0,
    abandoned        integer NOT NULL DEFAULT 0,
    -- Rises with every claim. A write under an older one touches no row.
    generation       bigint NOT NULL DEFAULT 0,
    run_after        timestamptz NOT NULL DEFAULT now(),
    lease_owner      text,
    lease_expires_at timestamptz,
    -- For operators: what went wrong last, or why there was nothing to do. Never anything of the payload.
    note             text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CHECK ((state IN ('done', 'dead')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'running') = (lease_expires_at IS NOT NULL)),
    CHECK ((state = 'done') = (payload IS NULL))
);
CREATE INDEX jobs_run_after_idx ON jobs (run_after) WHERE state = 'queued';
CREATE INDEX jobs_lease_expires_at_idx ON jobs (lease_expires_at) WHERE state = 'running';
CREATE INDEX jobs_finished_at_idx ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_created_at_idx ON jobs (created_at, id);
CREATE INDEX jobs_tenant_id_idx ON jobs (tenant_id);

CREATE FUNCTION jobs_queued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('freehold_jobs', 'queued');
    RETURN NULL;
END
$$;
-- Once for each transaction, however many it queues.
CREATE TRIGGER jobs_queued AFTER INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION jobs_queued();
