-- finds: drop-index:2, index-without-concurrently:2
DROP INDEX orders_buyer_idx;
