-- finds: contract:3, waiver-reason:2
-- freehold:allow drop-table:
DROP TABLE orders;
