-- finds: nothing
ALTER TABLE orders ADD COLUMN a text, ADD COLUMN b text;
