-- finds: nothing
-- freehold:no-transaction
CREATE INDEX CONCURRENTLY orders_buyer_idx ON orders (buyer);
