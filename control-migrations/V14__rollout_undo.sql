-- The way back: a rollout that takes the tenants of an earlier one back to the versions that they had before.
ALTER TABLE rollouts
    ADD COLUMN undoes uuid REFERENCES rollouts (id) ON DELETE CASCADE;
CREATE INDEX rollouts_undoes_idx ON rollouts (undoes) WHERE undoes IS NOT NULL;

-- The oldest version of the product's stream that each replica can serve: no undo takes a tenant below it. Null is a
-- release from before this.
ALTER TABLE replicas
    ADD COLUMN oldest_schema_version integer;
