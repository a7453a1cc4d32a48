-- finds: contract:6, drop-table:6, statement-after-lock:8, waiver-unused:2, waiver-unused:5, waiver-unused:9
-- freehold:allow drop-table: nothing reads it
ALTER TABLE orders ADD COLUMN note text;

-- freehold:allow drop-tables: misspelt
DROP TABLE items;

SELECT 1;
-- freehold:allow add-check: nothing follows
