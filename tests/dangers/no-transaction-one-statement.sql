-- finds: no-transaction-one-statement:4
-- freehold:no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_buyer_idx ON orders (buyer);
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_total_idx ON orders (total);
