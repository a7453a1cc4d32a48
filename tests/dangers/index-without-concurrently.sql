-- finds: index-without-concurrently:2
CREATE INDEX orders_buyer_idx ON orders (buyer);
