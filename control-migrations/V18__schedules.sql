-- Schedules: what is done again and again, by one replica at a time. A replica makes the row of each that it knows.
CREATE TABLE schedules (
    name             text PRIMARY KEY,
    due_at           timestamptz NOT NULL DEFAULT now(),
    -- Rises with every run. A write under an older one touches no row.
    generation       bigint NOT NULL DEFAULT 0,
    -- Who runs it, and until when nobody else does; NULL while nobody runs it.
    lease_owner      text,
    lease_expires_at timestamptz,
    began_at         timestamptz,
    ended_at         timestamptz,
    -- How many runs failed since one succeeded, and why the last one did.
    failures         integer NOT NULL DEFAULT 0,
    error            text,
    CHECK ((lease_owner IS NULL) = (lease_expires_at IS NULL))
);
