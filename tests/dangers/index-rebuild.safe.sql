-- finds: nothing
-- freehold:no-transaction
REINDEX INDEX CONCURRENTLY orders_buyer_idx;
