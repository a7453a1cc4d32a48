-- Which migrations each replica carries: a rollout that takes away what an older release uses waits for those replicas.
-- 0 is a release from before this.
ALTER TABLE replicas
    ADD COLUMN freehold_version integer NOT NULL DEFAULT 0,
    ADD COLUMN schema_version integer NOT NULL DEFAULT 0;
