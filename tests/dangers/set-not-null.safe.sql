-- finds: nothing
-- file: V1__step.sql
ALTER TABLE orders ADD CONSTRAINT buyer_there CHECK (buyer IS NOT NULL) NOT VALID;
-- file: V2__step.sql
ALTER TABLE orders VALIDATE CONSTRAINT buyer_there;
-- file: V3__step.sql
ALTER TABLE orders ALTER COLUMN buyer SET NOT NULL;
