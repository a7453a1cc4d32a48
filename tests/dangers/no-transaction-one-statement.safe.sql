-- finds: nothing
-- freehold:no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_buyer_idx ON orders (buyer);
