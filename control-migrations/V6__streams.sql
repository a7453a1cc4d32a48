-- A tenant's database has two streams of migrations, each with versions of its own: Freehold's and the product's.
-- `schema_version` is the product's everywhere.

-- What one stream has made cannot be told apart afterwards.
DO $$
BEGIN
    IF EXISTS (SELECT FROM migrations) THEN
        RAISE EXCEPTION 'the tenant databases that this control database knows were made before migrations had two streams'
            USING HINT = 'No release has made such databases: begin with an empty control database and empty servers.';
    END IF;
END
$$;

ALTER TABLE migrations
    ADD COLUMN stream text NOT NULL CHECK (stream IN ('freehold', 'product')),
    DROP CONSTRAINT migrations_pkey,
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (stream, version);

ALTER TABLE tenants ADD COLUMN freehold_version integer NOT NULL DEFAULT 0;
ALTER TABLE warm_databases ADD COLUMN freehold_version integer NOT NULL;

-- A tenant gets the database of the newest versions that has been ready longest.
DROP INDEX warm_databases_claim_idx;
CREATE INDEX warm_databases_claim_idx ON warm_databases (server_id, freehold_version, schema_version, ready_at)
    WHERE state = 'ready';
