-- finds: contract:4, drop-table:4, waiver-unused:2
-- freehold:allow drop-table: nothing reads it since release 12
SELECT 1;
DROP TABLE orders;
