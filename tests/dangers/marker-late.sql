-- finds: marker:3
SELECT 1;
-- freehold:no-transaction
SELECT 2;
