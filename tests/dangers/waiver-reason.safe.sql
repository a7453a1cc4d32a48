-- finds: nothing
-- freehold:allow drop-table: nothing reads it since release 12
DROP TABLE orders;
