-- finds: statement-after-lock:3, write-with-ddl:3
ALTER TABLE orders ADD COLUMN note text;
UPDATE orders SET note = '' WHERE note IS NULL;
