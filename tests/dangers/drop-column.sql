-- finds: contract:2, drop-column:2
ALTER TABLE orders DROP COLUMN total;
