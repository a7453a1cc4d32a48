-- finds: nothing
-- file: V1__step.sql
-- freehold:no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_buyer_idx ON orders (buyer_id);
-- file: V2__step.sql
ALTER TABLE orders ADD CONSTRAINT orders_buyer_fkey FOREIGN KEY (buyer_id) REFERENCES buyers (id) NOT VALID;
-- file: V3__step.sql
ALTER TABLE orders VALIDATE CONSTRAINT orders_buyer_fkey;
