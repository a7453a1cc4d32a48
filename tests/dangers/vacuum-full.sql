-- finds: vacuum-full:3
-- freehold:no-transaction
VACUUM (FULL, ANALYZE) orders;
