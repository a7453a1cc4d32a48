-- finds: nothing
-- file: V1__step.sql
ALTER TABLE orders ADD COLUMN note text;
-- file: V2__step.sql
-- freehold:batched
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders WHERE note IS NULL LIMIT $1);
