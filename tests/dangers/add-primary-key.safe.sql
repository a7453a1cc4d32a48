-- finds: nothing
-- file: V1__step.sql
-- freehold:no-transaction
-- freehold:allow unique-index-on-data: the program makes each id once
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS orders_pkey ON orders (id);
-- file: V2__step.sql
ALTER TABLE orders ADD PRIMARY KEY USING INDEX orders_pkey;
