-- finds: unique-index-on-data:3
-- freehold:no-transaction
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS orders_buyer_key ON orders (buyer);
