-- finds: nothing
-- file: V1__step.sql
ALTER TABLE orders ADD CONSTRAINT total_check CHECK (total > 0) NOT VALID;
-- file: V2__step.sql
ALTER TABLE orders VALIDATE CONSTRAINT total_check;
