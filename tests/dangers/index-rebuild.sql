-- finds: index-without-concurrently:2, index-without-concurrently:3
REINDEX INDEX orders_buyer_idx;
REINDEX TABLE orders;
