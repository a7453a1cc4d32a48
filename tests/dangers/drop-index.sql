-- finds: drop-index:3
-- freehold:no-transaction
DROP INDEX CONCURRENTLY IF EXISTS orders_buyer_idx;
