-- finds: nothing
-- freehold:no-transaction
VACUUM (ANALYZE) orders;
