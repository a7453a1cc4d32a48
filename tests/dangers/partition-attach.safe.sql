-- finds: nothing
-- file: V1__step.sql
ALTER TABLE events_2026 ADD CONSTRAINT bounds CHECK (at >= '2026-01-01' AND at < '2027-01-01') NOT VALID;
-- file: V2__step.sql
ALTER TABLE events_2026 VALIDATE CONSTRAINT bounds;
-- file: V3__step.sql
ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
