-- finds: nothing
-- freehold:contract oldest=1
-- freehold:allow drop-table: nothing reads it since release 12
DROP TABLE orders;
