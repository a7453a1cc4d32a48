-- People are deleted and brought back, programs have accounts of their own, custom roles change, and the audit log is
-- chained. Only what is added: a release from before goes on as it did.

ALTER TABLE freehold.users
    -- A service account is an account of a program: it has API keys, and never a password.
    ADD COLUMN kind text NOT NULL DEFAULT 'person',
    -- Deleted people are kept until they are erased, and are inactive meanwhile: whoever asks for active ones meets none.
    ADD COLUMN deleted_at timestamptz,
    ADD CONSTRAINT users_kind_check CHECK (kind IN ('person', 'service')) NOT VALID,
    ADD CONSTRAINT users_deleted_check CHECK (deleted_at IS NULL OR NOT active) NOT VALID;

ALTER TABLE freehold.roles
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- The audit log's chain: each batch of events has a digest of its events' digests and of the batch before. The platform
-- tenant's database holds that of the platform's own log too, whose events are in the control database.
CREATE TABLE freehold.audit_batches (
    log       text NOT NULL CHECK (log IN ('tenant', 'platform')),
    number    bigint NOT NULL CHECK (number > 0),
    events    integer NOT NULL CHECK (events > 0),
    -- The newest event's time: what is chained next is looked for from about there.
    through   timestamptz NOT NULL,
    previous  bytea NOT NULL CHECK (length(previous) = 32),
    digest    bytea NOT NULL CHECK (length(digest) = 32),
    sealed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log, number)
);

-- Which batch an event is in, and the digest of what the event said then. They outlive the event.
CREATE TABLE freehold.audit_digests (
    event_id uuid PRIMARY KEY,
    log      text NOT NULL CHECK (log IN ('tenant', 'platform')),
    batch    bigint NOT NULL,
    digest   bytea NOT NULL CHECK (length(digest) = 32)
);
CREATE INDEX audit_digests_batch_idx ON freehold.audit_digests (log, batch);

-- Up to which batch events were taken away because of their age.
CREATE TABLE freehold.audit_horizons (
    log        text PRIMARY KEY CHECK (log IN ('tenant', 'platform')),
    number     bigint NOT NULL CHECK (number > 0),
    changed_at timestamptz NOT NULL DEFAULT now()
);
REVOKE UPDATE, DELETE ON freehold.audit_batches, freehold.audit_digests FROM freehold_tenant;
REVOKE INSERT, UPDATE, DELETE ON freehold.audit_horizons FROM freehold_tenant;

-- A tenant's own role cannot delete events. This takes the oldest batch away, if every event in it is older than `days`
-- and than thirty days, and notes that in the horizon; how many events went.
CREATE FUNCTION freehold.forget_audit_batch(days integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    WITH oldest AS (
        SELECT b.number FROM freehold.audit_batches b
        WHERE b.log = 'tenant'
          AND b.number > coalesce((SELECT h.number FROM freehold.audit_horizons h WHERE h.log = 'tenant'), 0)
        ORDER BY b.number LIMIT 1
    ), due AS (
        SELECT o.number FROM oldest o
        WHERE NOT EXISTS (
            SELECT FROM freehold.audit_digests d JOIN freehold.audit_events e ON e.id = d.event_id
            WHERE d.log = 'tenant' AND d.batch = o.number
              AND e.at > now() - make_interval(days => greatest(days, 30)))
    ), gone AS (
        DELETE FROM freehold.audit_events e USING freehold.audit_digests d, due
        WHERE d.log = 'tenant' AND d.batch = due.number AND e.id = d.event_id
        RETURNING e.id
    ), noted AS (
        INSERT INTO freehold.audit_horizons AS h (log, number) SELECT 'tenant', number FROM due
        ON CONFLICT (log) DO UPDATE SET number = excluded.number, changed_at = now()
    ), undigested AS (
        DELETE FROM freehold.audit_digests d USING due WHERE d.log = 'tenant' AND d.batch = due.number
    )
    SELECT count(*) FROM gone
    $body$;
