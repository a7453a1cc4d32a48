-- finds: marker:2
-- freehold:no-transactions
SELECT 1;
