-- finds: nothing
ALTER TABLE orders ADD COLUMN title varchar, ADD COLUMN note text;
