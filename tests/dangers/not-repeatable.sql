-- finds: not-repeatable:3
-- freehold:no-transaction
CREATE INDEX CONCURRENTLY ON orders (buyer);
