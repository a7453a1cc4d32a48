-- A tenant gets the database of the newest version that has been ready longest.
CREATE INDEX warm_databases_claim_idx ON warm_databases (server_id, schema_version, ready_at) WHERE state = 'ready';
DROP INDEX warm_databases_ready_idx;
