-- finds: needs-no-transaction:2
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_buyer_idx ON orders (buyer);
